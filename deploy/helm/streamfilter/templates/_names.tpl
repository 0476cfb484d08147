{{- define "labels" -}}
app.kubernetes.io/name: streamfilter
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "selector" -}}
app.kubernetes.io/name: streamfilter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The kinds of workers that the settings ask for: alerts, and exposures where they have topics. */}}
{{- define "kinds" -}}
{{- if .Values.settings.alerts.topics }}alerts {{ end }}
{{- if .Values.settings.exposures.topics }}exposures{{ end }}
{{- end }}

{{- /* Secrets in /run/secrets: those named, and Strimzi's of the user and of the brokers' authority. */}}
{{- define "mounted" -}}
{{- $names := .Values.secrets }}
{{- if .Values.strimzi.enabled }}
{{- $names = concat $names (list .Values.strimzi.user (printf "%s-cluster-ca-cert" .Values.strimzi.cluster)) }}
{{- end }}
{{- toJson $names }}
{{- end }}

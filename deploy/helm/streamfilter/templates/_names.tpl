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

{{- /* What each kind of worker reads, and in which group, as JSON; kinds without topics are left out. */}}
{{- define "kinds" -}}
{{- $settings := .Values.settings }}
{{- $contaminants := get $settings.exposures "contaminants" | default dict }}
{{- $kinds := dict
  "alerts" (dict "topics" $settings.alerts.topics "group" $settings.kafka.group)
  "exposures" (dict "topics" $settings.exposures.topics "group" $settings.exposures.group)
  "contaminants" (dict "topics" (get $contaminants "topics") "group" (get $contaminants "group")) }}
{{- range $kind, $reads := $kinds }}
{{- if not $reads.topics }}{{ $_ := unset $kinds $kind }}{{ end }}
{{- end }}
{{- toJson $kinds }}
{{- end }}

{{- /* Secrets in /run/secrets: those named, and Strimzi's of the user and of the brokers' authority. */}}
{{- define "mounted" -}}
{{- $names := .Values.secrets }}
{{- if .Values.strimzi.enabled }}
{{- $names = concat $names (list .Values.strimzi.user (printf "%s-cluster-ca-cert" .Values.strimzi.cluster)) }}
{{- end }}
{{- toJson $names }}
{{- end }}

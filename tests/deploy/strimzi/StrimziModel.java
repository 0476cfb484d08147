import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.introspect.Annotated;
import com.fasterxml.jackson.databind.introspect.JacksonAnnotationIntrospector;
import java.io.File;
import java.util.List;

/** Reads resources by the model of Strimzi's operators, but refuses keys and versions that it does not have. */
public class StrimziModel {
    /** Arguments: name of a class, JSON file, and so on in pairs. */
    public static void main(String[] arguments) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        mapper.enable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
        mapper.setAnnotationIntrospector(new JacksonAnnotationIntrospector() {
            @Override
            public Boolean hasAnySetter(Annotated method) {
                return false; // where the operators keep what they do not know
            }
        });
        for (int i = 0; i < arguments.length; i += 2) {
            Class<?> model = Class.forName(arguments[i]);
            JsonNode resource = mapper.readTree(new File(arguments[i + 1]));
            mapper.treeToValue(resource, model);
            String version = resource.get("apiVersion").asText().replaceFirst(".*/", "");
            List<?> known = (List<?>) model.getField("VERSIONS").get(null);
            if (!known.contains(version)) {
                throw new IllegalArgumentException(version + " is none of " + known);
            }
            System.out.println(resource.get("metadata").get("name").asText());
        }
    }
}

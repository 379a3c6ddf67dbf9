{{- define "convoy.name" -}}
app.kubernetes.io/name: convoy
{{- end }}

{{- define "convoy.metadata" -}}
namespace: {{ .Release.Namespace }}
labels: { {{- include "convoy.name" . -}} }
{{- end }}

{{- /* A setting as the text of a variable: YAML's 67108864 is a float here, and printed 6.7108864e+07. */}}
{{- define "convoy.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- /* The server's variables. One of the values replaces the chart's own: a name must not be there twice. */}}
{{- define "convoy.variables" -}}
{{- $own := list (list "CONVOY_MODEL_CONTROL_MODE" "poll") }}
{{- /* With TLS or tokens the server answers to every name. */}}
{{- if not (or .Values.tls.secret .Values.tokens.secret) }}
{{- $own = append $own (list "CONVOY_ALLOWED_HOSTS" (printf "convoy.%s" .Release.Namespace)) }}
{{- end }}
{{- $own = append $own (list "CONVOY_SHUTDOWN_GRACE_S" "5") }}
{{- $own = append $own (list "CONVOY_SHUTDOWN_TIMEOUT_S" "30") }}
{{- with .Values.models.url }}
{{- $own = append $own (list "CONVOY_MODEL_REPOSITORY" .) }}
{{- end }}
{{- if .Values.tls.secret }}
{{- $own = append $own (list "CONVOY_TLS_CERTIFICATE" "/etc/convoy/tls/tls.crt") }}
{{- $own = append $own (list "CONVOY_TLS_KEY" "/etc/convoy/tls/tls.key") }}
{{- end }}
{{- if .Values.tokens.secret }}
{{- $own = append $own (list "CONVOY_TOKEN_FILE" "/etc/convoy/tokens/tokens") }}
{{- end }}
{{- range $own }}
{{- if not (hasKey $.Values.settings (first .)) }}
- {name: {{ first . }}, value: {{ last . | quote }}}
{{- end }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ include "convoy.text" $value | quote }}}
{{- end }}
{{- end }}

{{- /* 5 s before SIGTERM, the time of the drain, and 10 s to end. */}}
{{- define "convoy.graceSeconds" -}}
{{- $grace := get .Values.settings "CONVOY_SHUTDOWN_GRACE_S" | default 5 }}
{{- $timeout := get .Values.settings "CONVOY_SHUTDOWN_TIMEOUT_S" | default 30 }}
{{- addf 15 (float64 $grace) (float64 $timeout) | ceil | int }}
{{- end }}

{{- /* What kustomize has for a server on a processor, and for one on a GPU. */}}
{{- define "convoy.resources" -}}
{{- $usual := dict
  "requests" (dict "cpu" "250m" "memory" "2Gi")
  "limits" (dict "memory" "2Gi") }}
{{- if .Values.gpu }}
{{- $usual = dict
  "requests" (dict "cpu" "4" "memory" "8Gi")
  "limits" (dict "memory" "8Gi" "nvidia.com/gpu" "1") }}
{{- end }}
{{- mergeOverwrite $usual .Values.resources | toYaml }}
{{- end }}

{{- /* h2c is HTTP/2 in the clear: with it, a gateway would not speak TLS to the server. */}}
{{- define "convoy.appProtocol" -}}
{{- if not .Values.tls.secret }}, appProtocol: kubernetes.io/h2c{{ end }}
{{- end }}

{{- define "convoy.name" -}}
app.kubernetes.io/name: convoy
{{- end }}

{{- define "convoy.metadata" -}}
namespace: {{ .Release.Namespace }}
labels: { {{- include "convoy.name" . -}} }
{{- end }}

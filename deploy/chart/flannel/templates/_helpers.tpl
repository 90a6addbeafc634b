{{- define "flannel.image" -}}
{{ .Values.flannel.image.repository }}:{{ .Values.flannel.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The cluster's configuration; keys in flannel's order, those that are at their default left out. */}}
{{- define "flannel.netConf" -}}
{{- $conf := dict -}}
{{- if and (not .Values.podCidr) (not .Values.podCidrv6) -}}
{{- fail "set podCidr, podCidrv6 or both: a pod network is needed" -}}
{{- end -}}
{{- /* Here and not in the schema, whose message would be a regular expression. */ -}}
{{- if and .Values.podCidr (not (regexMatch "^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])/([0-9]|[12][0-9]|30)$" .Values.podCidr)) -}}
{{- fail (printf "podCidr is %q, but must be an IPv4 network such as 10.244.0.0/16" .Values.podCidr) -}}
{{- end -}}
{{- if and .Values.podCidrv6 (not (regexMatch "^[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-6])$" .Values.podCidrv6)) -}}
{{- fail (printf "podCidrv6 is %q, but must be an IPv6 network such as fd00:10:244::/56" .Values.podCidrv6) -}}
{{- end -}}
{{- if .Values.podCidr }}{{ $_ := set $conf "Network" .Values.podCidr }}{{ else }}{{ $_ := set $conf "EnableIPv4" false }}{{ end -}}
{{- if .Values.podCidrv6 }}{{ $_ := set $conf "EnableIPv6" true }}{{ $_ := set $conf "IPv6Network" .Values.podCidrv6 }}{{ end -}}
{{- $backend := dict "Type" .Values.flannel.backend -}}
{{- if eq .Values.flannel.backend "vxlan" -}}
{{- if ne (int .Values.flannel.vni) 1 }}{{ $_ := set $backend "VNI" (int .Values.flannel.vni) }}{{ end -}}
{{- if .Values.flannel.backendPort }}{{ $_ := set $backend "Port" (int .Values.flannel.backendPort) }}{{ end -}}
{{- if .Values.flannel.mtu }}{{ $_ := set $backend "MTU" (int .Values.flannel.mtu) }}{{ end -}}
{{- if .Values.flannel.GBP }}{{ $_ := set $backend "GBP" true }}{{ end -}}
{{- if .Values.flannel.directRouting }}{{ $_ := set $backend "DirectRouting" true }}{{ end -}}
{{- end -}}
{{- $_ := set $conf "Backend" $backend -}}
{{ toPrettyJson $conf }}
{{- end }}

{{- define "flannel.cniConf" -}}
{{- if .Values.flannel.cniConf -}}
{{- if .Values.flannel.networkPolicy -}}
{{- range .Values.flannel.cniConf.plugins -}}
{{- if and (eq .type "flannel") (not (kindIs "map" .networkPolicy)) -}}
{{- fail "flannel.cniConf has a plugin of type flannel without networkPolicy, so no new pod would wait for its policy: add networkPolicy: {waitSeconds: 30, onFailure: error} to it, or set flannel.networkPolicy=false" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ toPrettyJson .Values.flannel.cniConf }}
{{- else -}}
{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }{{ if .Values.flannel.networkPolicy }},
      "networkPolicy": {
        "waitSeconds": 30,
        "onFailure": "error"
      }{{ end }}
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
{{- end -}}
{{- end }}

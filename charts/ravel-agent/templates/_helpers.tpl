{{- define "ravel-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough that `-realserver` and the hash of a Deployment's pod still fit into a label. */}}
{{- define "ravel-agent.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "ravel-agent.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ravel-agent.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Arguments: root, component */}}
{{- define "ravel-agent.selector" -}}
app.kubernetes.io/name: {{ include "ravel-agent.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Arguments: root, component (may be empty) */}}
{{- define "ravel-agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "ravel-agent.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "ravel-agent.configNamespace" -}}
{{- default .Release.Namespace .Values.configMap.namespace -}}
{{- end -}}

{{/* Flags of a mode by name, as JSON: its own before the common ones. Arguments: root, component */}}
{{- define "ravel-agent.flagValues" -}}
{{- /* Not merge: it takes false and 0 for absent. */ -}}
{{- $flags := dict -}}
{{- range $name, $value := .root.Values.flags }}{{ $_ := set $flags $name $value }}{{ end -}}
{{- range $name, $value := (index .root.Values .component).flags }}{{ $_ := set $flags $name $value }}{{ end -}}
{{- toJson $flags -}}
{{- end -}}

{{/* The same as arguments, sorted; a list repeats its flag. Arguments: root, component */}}
{{- define "ravel-agent.flags" -}}
{{- range $name, $value := fromJson (include "ravel-agent.flagValues" .) }}
{{- if kindIs "slice" $value }}
{{- range $value }}
- {{ printf "--%s=%v" $name . | quote }}
{{- end }}
{{- else if kindIs "float64" $value }}
- {{ printf "--%s=%s" $name (toJson $value) | quote }}
{{- else }}
- {{ printf "--%s=%v" $name $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The pod of either mode. Arguments: root, component */}}
{{- define "ravel-agent.pod" -}}
{{- $root := .root -}}
{{- $values := index .root.Values .component -}}
{{- $director := eq .component "director" -}}
{{- $legacy := ne $root.Values.natBackend "nftables" -}}
{{- $routed := and $director (eq (toString $values.mode) "bgp") -}}
{{- $bgp := $values.bgp | default dict -}}
{{- if and $routed $values.combined -}}
{{- fail "director.mode=bgp and director.combined=true: such a director does not serve pods of its own node yet; leave one out" -}}
{{- end -}}
{{- $socket := "" -}}
{{- if and $routed (hasPrefix "unix:" $bgp.endpoint) -}}
{{- $socket = dir (trimPrefix "unix:" $bgp.endpoint) -}}
{{- end -}}
metadata:
  labels:
    {{- include "ravel-agent.labels" . | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "ravel-agent.fullname" $root }}-{{ .component }}
  automountServiceAccountToken: true
  # The kernel objects are the node's: its IPVS table, its addresses, its rules.
  hostNetwork: true
  # The API server is reached by address; the node's resolver is all that is needed, also before the cluster has its own.
  dnsPolicy: Default
  # Variables such as RAVEL_..._SERVICE_HOST would only be in the way of those that the agent reads.
  enableServiceLinks: false
  priorityClassName: {{ $values.priorityClassName }}
  terminationGracePeriodSeconds: {{ if $routed }}{{ add $values.terminationGracePeriodSeconds $bgp.drainSeconds }}{{ else }}{{ $values.terminationGracePeriodSeconds }}{{ end }}
  {{- with $root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    # Netlink asks for CAP_NET_ADMIN, and Kubernetes has no ambient capabilities for other users.
    runAsUser: 0
    runAsGroup: 0
    seccompProfile: { type: RuntimeDefault }
  containers:
    - name: {{ .component }}
      image: {{ printf "%s:%s" $root.Values.image.repository (default $root.Chart.AppVersion $root.Values.image.tag) | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        - --mode={{ if $routed }}bgp{{ else if and $director $values.combined }}director,realserver{{ else }}{{ .component }}{{ end }}
        - --nodename=$(NODE_NAME)
        - --compute-iface={{ required (printf "interface, or %s.interface: the interface that faces the segment, such as eth0" .component) (default $root.Values.interface $values.interface) }}
        - --config-namespace={{ include "ravel-agent.configNamespace" $root }}
        - --config-name={{ $root.Values.configMap.name }}
        - --config-key={{ $root.Values.configMap.key }}
        - --agent-namespace={{ $root.Release.Namespace }}
        - --nat-backend={{ $root.Values.natBackend }}
        {{- if $routed }}
        {{- range $bgp.communities }}
        - {{ printf "--bgp-communities=%s" . | quote }}
        {{- end }}
        - --bgp-drain={{ $bgp.drainSeconds }}s
        {{- end }}
        {{- with include "ravel-agent.flags" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
      env:
        - name: NODE_NAME
          valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
        # Flags by their variables, so that `kubectl exec POD -- ravel-agent status` and `check` know them as well.
        - { name: RAVEL_STATE_DIR, value: {{ $root.Values.stateDirectory | quote }} }
        {{- if $root.Values.sysctls.mount }}
        - { name: RAVEL_SYSCTL_DIR, value: /host/proc/sys }
        {{- end }}
        {{- if $routed }}
        - { name: RAVEL_MODE, value: bgp }
        - { name: RAVEL_BGP_ENDPOINT, value: {{ $bgp.endpoint | quote }} }
        {{- if $bgp.tlsSecret }}
        - { name: RAVEL_BGP_TLS_CA, value: /etc/ravel-agent/bgp-tls/ca.crt }
        {{- if $bgp.tlsClient }}
        - { name: RAVEL_BGP_TLS_CERT, value: /etc/ravel-agent/bgp-tls/tls.crt }
        - { name: RAVEL_BGP_TLS_KEY, value: /etc/ravel-agent/bgp-tls/tls.key }
        {{- end }}
        {{- end }}
        {{- end }}
      # No probes: what goes wrong in the cluster or the kernel is retried by the agent itself and told in its log, in Events and by
      # `ravel-agent status`, and a restart would mend none of it. A process that ends is started again without a probe.
      securityContext:
        privileged: false
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
          {{- if and $routed (not $legacy) }}
          # NET_ADMIN: IPVS, addresses, rules, kernel settings. Nothing is sent on the segment.
          add: [NET_ADMIN]
          {{- else if $director }}
          # NET_ADMIN: IPVS, addresses, rules, kernel settings. NET_RAW: gratuitous ARP and neighbour advertisements, and listening for who
          # else claims a VIP.
          add: [NET_ADMIN, NET_RAW]
          {{- else if $legacy }}
          # NET_ADMIN: rules, addresses, tunnels, kernel settings. NET_RAW: the tables of legacy iptables are read through a raw socket.
          add: [NET_ADMIN, NET_RAW]
          {{- else }}
          # NET_ADMIN: nftables, addresses, tunnels, kernel settings.
          add: [NET_ADMIN]
          {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - { name: state, mountPath: {{ $root.Values.stateDirectory | quote }} }
        {{- if $root.Values.sysctls.mount }}
        - { name: sysctls, mountPath: {{ if $director }}/host/proc/sys/net/ipv4{{ else }}/host/proc/sys/net/ipv4/conf{{ end }} }
        {{- end }}
        {{- if $legacy }}
        # Everybody on the node who changes legacy tables agrees by this file.
        - { name: xtables-lock, mountPath: /run/xtables.lock }
        {{- end }}
        {{- if $socket }}
        - { name: bgp-socket, mountPath: {{ $socket | quote }} }
        {{- end }}
        {{- if and $routed $bgp.passwordSecret }}
        - { name: bgp-passwords, mountPath: /etc/ravel-agent/bgp, readOnly: true }
        {{- end }}
        {{- if and $routed $bgp.tlsSecret }}
        - { name: bgp-tls, mountPath: /etc/ravel-agent/bgp-tls, readOnly: true }
        {{- end }}
  volumes:
    - name: state
      hostPath: { path: {{ $root.Values.stateDirectory | quote }}, type: DirectoryOrCreate }
    {{- if $root.Values.sysctls.mount }}
    # Seen through any mount, these are the settings of the network namespace of whoever looks: the node's.
    - name: sysctls
      hostPath: { path: {{ if $director }}/proc/sys/net/ipv4{{ else }}/proc/sys/net/ipv4/conf{{ end }}, type: Directory }
    {{- end }}
    {{- if $legacy }}
    - name: xtables-lock
      hostPath: { path: /run/xtables.lock, type: FileOrCreate }
    {{- end }}
    {{- if $socket }}
    # The folder: a daemon that starts anew makes a new socket in it.
    - name: bgp-socket
      hostPath: { path: {{ $socket | quote }}, type: Directory }
    {{- end }}
    {{- if and $routed $bgp.passwordSecret }}
    # 256 is 0400.
    - name: bgp-passwords
      secret: { secretName: {{ $bgp.passwordSecret | quote }}, defaultMode: 256 }
    {{- end }}
    {{- if and $routed $bgp.tlsSecret }}
    - name: bgp-tls
      secret: { secretName: {{ $bgp.tlsSecret | quote }}, defaultMode: 256 }
    {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and (not $director) $root.Values.director.enabled $root.Values.director.nodeSelector }}
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        # Terms are alternatives: a node that lacks any one label of a director is none.
        nodeSelectorTerms:
          {{- range $key, $value := $root.Values.director.nodeSelector }}
          - matchExpressions: [{ key: {{ $key | quote }}, operator: NotIn, values: [{{ $value | quote }}] }]
          {{- end }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

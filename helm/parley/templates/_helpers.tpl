{{/* Names, labels and the parts that several pods share. */}}

{{- define "parley.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "parley" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-parley" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* A tag or version as a label may have it: at most 63 characters, a letter or digit at both ends, no `+`. */}}
{{- define "parley.labelValue" -}}
{{- . | replace "+" "_" | trunc 63 | trimAll "-_." -}}
{{- end -}}

{{/* Labels of one component: list $ "gateway". The selector's never change over upgrades. */}}
{{- define "parley.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: parley
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "parley.labels" -}}
{{- $root := index . 0 -}}
{{ include "parley.podLabels" . }}
app.kubernetes.io/version: {{ include "parley.labelValue" ($root.Values.image.tag | default $root.Chart.AppVersion) | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ include "parley.labelValue" (printf "%s-%s" $root.Chart.Name $root.Chart.Version) }}
{{- end -}}

{{/* Without versions: a release that changes nothing for a pod (Redis, mostly) must not restart it. */}}
{{- define "parley.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "parley.selectorLabels" . }}
app.kubernetes.io/part-of: parley
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The image of one of Parley's services: list $ "gateway". */}}
{{- define "parley.image" -}}
{{- $root := index . 0 -}}
image: {{ printf "%s/parley-%s:%s" $root.Values.image.registry (index . 1) ($root.Values.image.tag | default $root.Chart.AppVersion) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
{{- end -}}

{{/* Metadata of a component's pods: list $ "gateway" values metrics-port digest-of-its-configuration. */}}
{{- define "parley.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
labels:
  {{- include "parley.podLabels" (list $root (index . 1)) | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # What is read at the start only: a change restarts the pods.
  parley.dev/configuration: {{ index . 4 | sha256sum | trunc 16 | quote }}
  {{- if and (index . 3) $root.Values.monitoring.scrapeAnnotations (not $root.Values.monitoring.podMonitor.enabled) }}
  prometheus.io/scrape: "true"
  prometheus.io/port: {{ index . 3 | quote }}
  prometheus.io/path: /metrics
  {{- end }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* What all pods have in common: list $ "gateway" values. */}}
{{- define "parley.podSpec" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := index . 2 -}}
serviceAccountName: {{ include "parley.fullname" $root }}-{{ $component }}
automountServiceAccountToken: {{ eq $component "operator" }}
# Services of the namespace would appear as settings (PARLEY_STORE_PORT=tcp://...).
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ if eq $component "redis" }}999{{ else }}10001{{ end }}
  runAsGroup: {{ if eq $component "redis" }}999{{ else }}10001{{ end }}
  {{- if eq $component "redis" }}
  fsGroup: 999
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Spread one revision's pods over zones and nodes, without refusing to run where there is only one. */}}
{{- define "parley.spread" -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "parley.selectorLabels" $ | nindent 8 }}
    # Only pods of the same revision count: an update spreads its new pods evenly.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end -}}

{{- define "parley.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "parley.authSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "parley.fullname" .)) -}}
{{- end -}}

{{- define "parley.redisSecret" -}}
{{- $own := ternary .Values.redis.auth.existingSecret .Values.redis.external.existingSecret (eq .Values.redis.mode "bundled") -}}
{{- $own | default (printf "%s-redis" (include "parley.fullname" .)) -}}
{{- end -}}

{{- define "parley.serviceTokensEnv" -}}
- name: SERVICE_TOKENS
  valueFrom: {secretKeyRef: {name: {{ include "parley.authSecret" . }}, key: service-tokens}}
{{- end -}}

{{/* Where Redis is, for gateway and store. */}}
{{- define "parley.redisEnv" -}}
{{- if eq .Values.redis.mode "bundled" }}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "parley.redisSecret" . }}, key: password}}
- name: REDIS_URL
  value: {{ ternary "rediss" "redis" .Values.redis.tls.enabled }}://:$(REDIS_PASSWORD)@{{ include "parley.fullname" . }}-redis:6379/0
{{- else }}
- name: REDIS_URL
  valueFrom: {secretKeyRef: {name: {{ include "parley.redisSecret" . }}, key: url}}
{{- end }}
{{- if include "parley.redisAuthority" . }}
# Joins the authorities of the system, which are in a directory (SSL_CERT_DIR).
- name: SSL_CERT_FILE
  value: /etc/parley/redis/ca.crt
{{- end }}
{{- end -}}

{{/* The Secret with Redis's certificate authority, if there is one. */}}
{{- define "parley.redisAuthority" -}}
{{- if or .Values.redis.tls.enabled (eq .Values.redis.mode "external") -}}
{{- .Values.redis.tls.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "parley.redisAuthorityMount" -}}
{{- if include "parley.redisAuthority" . }}
volumeMounts:
  - {name: redis-authority, mountPath: /etc/parley/redis, readOnly: true}
{{- end }}
{{- end -}}

{{- define "parley.redisAuthorityVolume" -}}
{{- with include "parley.redisAuthority" . }}
volumes:
  - name: redis-authority
    secret: {secretName: {{ . }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end -}}

{{/* Settings given by name, as environment variables. Helm holds numbers as floats: a million would be 1e+06. */}}
{{- define "parley.settings" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ ternary (int64 $value | toString) (toString $value) (and (kindIs "float64" $value) (eq (toString (floor $value)) (toString $value))) | quote }}
{{- end }}
{{- end -}}

{{/* A probe of the internal port: list path port. */}}
{{- define "parley.probe" -}}
httpGet: {path: {{ index . 0 }}, port: {{ index . 1 }}}
timeoutSeconds: 3
{{- end -}}

{{/* Whether `helm test` has a message to send: with a login by token it would need a token that your issuer makes. */}}
{{- define "parley.hasTest" -}}
{{- if ne (get .Values.gateway.settings "AUTH_MODE" | default "" | toString) "jwt" }}true{{ end -}}
{{- end -}}

{{/* Secrets that were given as values (generated ones do not change). */}}
{{- define "parley.givenSecrets" -}}
{{ list .Values.auth.serviceTokens .Values.redis.auth.password .Values.redis.external.url | join "\n" }}
{{- end -}}

{{/* Combinations that cannot work, refused with one clear line. */}}
{{- define "parley.check" -}}
{{- if and (eq .Values.redis.mode "external") (not .Values.redis.external.url) (not .Values.redis.external.existingSecret) -}}
{{- fail "redis.mode is external: set redis.external.url or redis.external.existingSecret" -}}
{{- end -}}
{{- if and (eq .Values.redis.mode "bundled") .Values.redis.tls.enabled (not .Values.redis.tls.existingSecret) -}}
{{- fail "redis.tls.enabled needs redis.tls.existingSecret with tls.crt, tls.key and ca.crt" -}}
{{- end -}}
{{- if and (eq .Values.redis.mode "bundled") (eq .Values.store.durability "replicated") -}}
{{- fail "store.durability replicated needs an external Redis with a replica: the bundled one has none" -}}
{{- end -}}
{{- with .Values.store.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "store.autoscaling.minReplicas (%d) is more than maxReplicas (%d)" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.ingress.controller "gateway-api") (not .Values.ingress.gateway.name) -}}
{{- fail "ingress.controller gateway-api needs ingress.gateway.name" -}}
{{- end -}}
{{- if and (eq .Values.ingress.cookie.sameSite "none") (not .Values.ingress.tls.enabled) (ne .Values.ingress.controller "none") -}}
{{- fail "ingress.cookie.sameSite none needs ingress.tls.enabled: browsers refuse such a cookie without TLS" -}}
{{- end -}}
{{- if and .Values.ingress.tls.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.tls.enabled needs ingress.hosts" -}}
{{- end -}}
{{- $offered := dict
  "haproxy" (list "roundrobin" "leastconn" "random")
  "haproxy-ingress" (list "roundrobin" "leastconn" "random")
  "nginx-inc" (list "roundrobin" "leastconn" "random")
  "alb" (list "roundrobin" "leastconn" "random")
  "traefik" (list "roundrobin") -}}
{{- with .Values.ingress.balance -}}
{{- if not (has . (index $offered $.Values.ingress.controller | default list)) -}}
{{- fail (printf "ingress.balance %s is not offered by %s on an Ingress; leave it empty" . $.Values.ingress.controller) -}}
{{- end -}}
{{- end -}}
{{- end -}}

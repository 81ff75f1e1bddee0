{{/*
How each controller is told of cookie affinity, WebSocket time-outs and the balancing of new clients: on the
Service, or on the Ingress. What is on the wrong object is ignored in silence.
*/}}

{{- define "parley.ingress.serviceAnnotations" -}}
{{- $cookie := .Values.ingress.cookie }}
{{- $tls := .Values.ingress.tls.enabled }}
{{- if eq .Values.ingress.controller "traefik" }}
traefik.ingress.kubernetes.io/service.sticky.cookie: "true"
traefik.ingress.kubernetes.io/service.sticky.cookie.name: {{ $cookie.name }}
traefik.ingress.kubernetes.io/service.sticky.cookie.path: /
traefik.ingress.kubernetes.io/service.sticky.cookie.httponly: "true"
traefik.ingress.kubernetes.io/service.sticky.cookie.secure: {{ $tls | quote }}
traefik.ingress.kubernetes.io/service.sticky.cookie.samesite: {{ $cookie.sameSite }}
{{- else if eq .Values.ingress.controller "haproxy" }}
haproxy.org/cookie-persistence: {{ $cookie.name }}
{{- with .Values.ingress.balance }}
haproxy.org/load-balance: {{ . }}
{{- end }}
# A long poll is open for as long as nothing happens, up to the ping interval; a tunnel's time-out is the
# controller's `timeout-tunnel` (an hour).
haproxy.org/timeout-server: 60s
{{- end }}
{{- end -}}

{{- define "parley.ingress.annotations" -}}
{{- $cookie := .Values.ingress.cookie }}
{{- $tls := .Values.ingress.tls.enabled }}
{{- $service := printf "%s-gateway" (include "parley.fullname" .) }}
{{- if eq .Values.ingress.controller "haproxy-ingress" }}
haproxy-ingress.github.io/affinity: cookie
haproxy-ingress.github.io/session-cookie-name: {{ $cookie.name }}
haproxy-ingress.github.io/session-cookie-strategy: insert
haproxy-ingress.github.io/session-cookie-keywords: indirect nocache httponly{{ if $tls }} secure{{ end }}
haproxy-ingress.github.io/session-cookie-same-site: {{ eq $cookie.sameSite "none" | quote }}
haproxy-ingress.github.io/timeout-tunnel: 1h
haproxy-ingress.github.io/timeout-server: 60s
{{- with .Values.ingress.balance }}
haproxy-ingress.github.io/balance-algorithm: {{ . }}
{{- end }}
{{- else if eq .Values.ingress.controller "ingress-nginx" }}
nginx.ingress.kubernetes.io/affinity: cookie
# `balanced`, the default, would move clients when pods are added.
nginx.ingress.kubernetes.io/affinity-mode: persistent
nginx.ingress.kubernetes.io/session-cookie-name: {{ $cookie.name }}
nginx.ingress.kubernetes.io/session-cookie-path: /
nginx.ingress.kubernetes.io/session-cookie-samesite: {{ $cookie.sameSite | title }}
nginx.ingress.kubernetes.io/session-cookie-secure: {{ $tls | quote }}
nginx.ingress.kubernetes.io/session-cookie-change-on-failure: "true"
nginx.ingress.kubernetes.io/proxy-read-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-send-timeout: "3600"
{{- else if eq .Values.ingress.controller "nginx-inc" }}
nginx.org/sticky-cookie-services: "serviceName={{ $service }} {{ $cookie.name }} path=/ httponly samesite={{ $cookie.sameSite }}{{ if $tls }} secure{{ end }}"
nginx.org/websocket-services: {{ $service }}
nginx.org/proxy-read-timeout: 3600s
nginx.org/proxy-send-timeout: 3600s
{{- with .Values.ingress.balance }}
nginx.org/lb-method: {{ get (dict "roundrobin" "round_robin" "leastconn" "least_conn" "random" "random") . }}
{{- end }}
{{- else if eq .Values.ingress.controller "alb" }}
{{- $algorithm := get (dict "roundrobin" "round_robin" "leastconn" "least_outstanding_requests" "random" "weighted_random") (.Values.ingress.balance | default "roundrobin") }}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/target-group-attributes: {{ printf "stickiness.enabled=true,stickiness.type=lb_cookie,stickiness.lb_cookie.duration_seconds=86400,load_balancing.algorithm.type=%s,deregistration_delay.timeout_seconds=%d" $algorithm (add .Values.gateway.preStopSeconds (ceil .Values.gateway.drainSeconds)) | quote }}
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds=3600
# The page, or 404 where it is switched off: either means that the gateway answers.
alb.ingress.kubernetes.io/healthcheck-path: /
alb.ingress.kubernetes.io/success-codes: "200,404"
{{- end }}
{{- with .Values.ingress.tls.clusterIssuer }}
cert-manager.io/cluster-issuer: {{ . }}
{{- end }}
{{- with .Values.ingress.annotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

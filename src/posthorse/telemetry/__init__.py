"""What other systems see of Posthorse: metrics for Prometheus, and spans of OpenTelemetry.

It knows neither the application nor how jobs are run. `prometheus_client` is imported only where a page of metrics is
written (`exposition`), `opentelemetry` only in a process that loaded it (`spans`, `meters`); both are extras.
"""

"""What other systems see of Posthorse: metrics for Prometheus.

It reads what is counted anyway, and knows neither the application nor how jobs are run. `prometheus_client` is imported
only where a page of metrics is written, because it is an extra.
"""

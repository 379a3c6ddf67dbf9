"""Expressions of PromQL that several panels need.

They compute from the counters themselves and not from recording rules, so that the choices above a
dashboard apply, and with Grafana's `$__rate_interval`, so that they suit any scrape interval.
"""

SERVERS = 'namespace=~"$namespace", instance=~"$instance"'
"""The servers that a viewer chose. A metric without a namespace matches the choice of all."""

MODELS = f'{SERVERS}, model=~"$model"'
"""The models that a viewer chose, on these servers."""

BUCKETS = "convoy_request_duration_seconds_bucket"
WAIT_BUCKETS = "convoy_transport_wait_seconds_bucket"


def rate(metric: str, by: str, where: str = MODELS) -> str:
    """Return the increase per second of a counter, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def processors(where: str) -> str:
    """Return the processor cores in use by each server, its front processes included."""
    names = '__name__=~"(process|convoy_front)_cpu_seconds_total"'
    return rate("", "instance", f"{names}, {where}")


def mean(metric: str, by: str, where: str = MODELS) -> str:
    """Return the mean of a histogram, by labels."""
    return f"{rate(f'{metric}_sum', by, where)} / {rate(f'{metric}_count', by, where)}"


def quantile(share: float, buckets: str, by: str, where: str = MODELS) -> str:
    """Return a quantile of a histogram, by labels; *by* ends in `le`."""
    return f"histogram_quantile({share}, {rate(buckets, by, where)})"


def latency(share: float) -> str:
    """Return a quantile of the latency that clients see, by model: transport and handler."""
    handler = quantile(share, BUCKETS, "model, le")
    # The transport knows no models. Without calls over gRPC, the wait is not a number, and `> 0`
    # leaves it out.
    wait = quantile(share, WAIT_BUCKETS, "le", SERVERS)
    return f"{handler} + on() group_left() ({wait} > 0 or vector(0))"


def chosen(expression: str, *, model: str = ".*") -> str:
    """Return an expression as Grafana sends it, for a model, all servers and a short interval."""
    values = {"$namespace": ".*", "$instance": ".*", "$model": model, "$__rate_interval": "1m"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression

"""The HTTP service: `posthorse serve`, or `service(app)` inside another ASGI application. It needs the extra `web`."""

from importlib.util import find_spec

if find_spec("starlette") is None:
    raise ImportError("posthorse.web needs other packages: pip install 'posthorse[web]'")

from posthorse.rules.tokens import Role
from posthorse.web.access import Access
from posthorse.web.service import Service, service

__all__ = ["Access", "Role", "Service", "service"]

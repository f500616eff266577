"""The front: a Quart application made of the services that it is given."""

from functools import cached_property
from typing import Any

from quart import Quart, Request, Response

from trendedge.http import failures
from trendedge.http.access_log import AccessLog
from trendedge.http.connection import FrontConnection
from trendedge.http.doors import Doors
from trendedge.http.errors import ApiError, Code
from trendedge.http.exchange import Exchange, Receive, Scope, current
from trendedge.http.headers import Cors
from trendedge.http.resources import blueprints
from trendedge.http.services import Services
from trendedge.http.sockets.connection import SocketConnection


class FrontRequest(Request):
    """Quart's request over our exchange, which alone reads the body: bounded, and in the server's own task."""

    exchange: Exchange

    @cached_property
    def blueprints(self) -> list[str]:  # Quart computes it anew at each of its looks
        """Names of the blueprints of the matched route, innermost first."""
        return super().blueprints

    async def get_data(self, *_: Any, as_text: bool = False, **__: Any) -> Any:
        """The body, through `Exchange.read_body`."""
        body = await self.exchange.read_body()
        return body.decode("utf-8") if as_text else body


class Front(Quart):
    """The application and what its connections share."""

    asgi_http_class = FrontConnection
    asgi_websocket_class = SocketConnection
    request_class = FrontRequest

    def __init__(self, services: Services) -> None:
        super().__init__("trendedge", static_folder=None)
        self.services = services
        self.doors = Doors(services.settings, services.database)
        self.cors = Cors(services.settings.cors_origins)
        self.access_log = AccessLog()

    def exchange(self, scope: Scope, receive: Receive) -> Exchange:
        """What is known of a request before anybody has looked at it."""
        settings = self.services.settings
        return Exchange(
            scope,
            receive,
            body_limit=settings.body_limit,
            body_timeout_s=settings.body_timeout_s,
            address_header=settings.address_header,
        )

    async def fail(self, error: Exception) -> Response:
        """Quart's error handler for everything."""
        exchange = current()
        known = failures.translate(error, retry_after_s=self.services.settings.retry_after_s)
        if known is None:
            self.access_log.failed(exchange, error)
            known = ApiError(Code.INTERNAL_ERROR)
        return failures.answer(known, exchange)


def create_app(services: Services) -> Front:
    """The application, ready to be served. It opens nothing and closes nothing: the services are their maker's."""
    app = Front(services)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a doubled slash is a 404, not a redirect to wherever `Host` says
    app.register_error_handler(Exception, app.fail)
    for blueprint in blueprints(services, app.doors, app.access_log.requests):
        app.register_blueprint(blueprint)
    return app

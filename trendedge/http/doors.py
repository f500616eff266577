"""Who may come in: users by bearer token, operators by key or by role. One place decides between 401, 403 and 429."""

import hmac
import ipaddress

import structlog

from trendedge.http.errors import ApiError, Code, InvalidToken
from trendedge.http.exchange import Exchange
from trendedge.http.limits import SlidingWindow, Verdict
from trendedge.http.services import FrontSettings
from trendedge.http.tokens import Principal, TokenKeys, TokenVerifier
from trendedge.storage import users
from trendedge.storage.postgres import Database

_UNAUTHENTICATED = {"WWW-Authenticate": "Bearer"}
_KNOWN_USERS = 100_000


class Doors:
    """Authentication and rate limits of one process."""

    def __init__(self, settings: FrontSettings, database: Database) -> None:
        limits = settings.rate_limits
        self.tokens = TokenVerifier(TokenKeys(shared_secret=settings.jwt_secret), issuer=settings.issuer)
        self._operator_key = None if settings.operator_key is None else settings.operator_key.encode()
        self._database = database
        self._any_hour = settings.environment == "development"  # a developer tries things on a Saturday too
        self._known: set[str] = set()
        self._reads = SlidingWindow(limits.read)
        self._writes = SlidingWindow(limits.write)
        self._webhooks = SlidingWindow(limits.webhook)
        self._failures = SlidingWindow(limits.auth)
        self._strangers = SlidingWindow(limits.read)
        self._log = structlog.get_logger().bind(logger="trendedge.api")

    async def admit_user(self, exchange: Exchange) -> Principal:
        """The user of a bearer token, made known to the database at the first visit, within the user's limit.

        :raises ApiError: 401 without a valid token, 429 over the limit
        """
        principal = self.principal(exchange, bearer_token(exchange))
        require(exchange, self._reads_or_writes(exchange).take(principal.user_id))
        await self.provision(principal)
        return principal

    def principal(self, exchange: Exchange, token: str | None) -> Principal:
        """The principal of a token that was presented, without any limit on valid ones.

        :raises ApiError: 401, or 429 when the address has presented too many bad ones
        """
        if token is None:
            raise ApiError(Code.AUTHENTICATION_REQUIRED, headers=_UNAUTHENTICATED)
        try:
            principal = self.tokens.verify(token)
        except InvalidToken as error:
            self._log.info("Token refused", reason=error.reason, request_id=exchange.request_id)
            # A signature cannot be guessed and costs microseconds to refuse: the limit for reads will do.
            require(exchange, self._strangers.take(network_of(exchange.client)))
            raise ApiError(Code.AUTHENTICATION_REQUIRED, "The token is not valid.", headers=_UNAUTHENTICATED) from None
        exchange.user_id = principal.user_id
        return principal

    async def provision(self, principal: Principal) -> None:
        """Make sure that the database knows the user; asks it once per user and process."""
        if principal.user_id in self._known:
            return
        await users.ensure_user(self._database, id=principal.user_id, email=principal.email, any_hour=self._any_hour)
        if len(self._known) >= _KNOWN_USERS:
            self._known.clear()
        self._known.add(principal.user_id)

    def admit_operator(self, exchange: Exchange) -> str:
        """As `operator`, within the operator's limit.

        :raises ApiError: as `operator`, and 429 over the limit
        """
        name = self.operator(exchange)
        require(exchange, self._reads_or_writes(exchange).take(name))
        return name

    def operator(self, exchange: Exchange) -> str:
        """Who operates: `operator-key`, or the id of a user with that role.

        :raises ApiError: 401 for nobody or a wrong key, 403 for a user who is no operator, 429 after too many of them
        """
        key = exchange.headers.get(b"x-api-key")
        if key is not None:
            if self.is_operator_key(key):
                return "operator-key"
            self.count_failure(exchange)
            raise ApiError(Code.AUTHENTICATION_REQUIRED, "The API key is not valid.")
        principal = self.principal(exchange, bearer_token(exchange))
        if not principal.is_operator:
            require(exchange, self._reads_or_writes(exchange).take(principal.user_id))
            raise ApiError(Code.FORBIDDEN, "This is for operators.")
        return principal.user_id

    def _reads_or_writes(self, exchange: Exchange) -> SlidingWindow:
        return self._reads if exchange.method in {"GET", "HEAD"} else self._writes

    def is_operator_key(self, key: bytes) -> bool:
        """Compared in constant time; never true while no operator key is set."""
        return self._operator_key is not None and hmac.compare_digest(key, self._operator_key)

    def count_failure(self, exchange: Exchange) -> None:
        """Count a wrong key against the address that sent it.

        Only failures are counted and only they are refused: TradingView's four addresses serve all of our users.

        :raises ApiError: 429 when there were too many
        """
        require(exchange, self._failures.take(network_of(exchange.client)))

    def admit_stranger(self, exchange: Exchange) -> None:
        """Count a request that shows no credentials at all against its address.

        :raises ApiError: 429 when there were too many
        """
        require(exchange, self._strangers.take(network_of(exchange.client)))

    def admit_webhook(self, exchange: Exchange, key_id: str) -> None:
        """Count an alert against its key.

        :raises ApiError: 429 over the limit
        """
        verdict = self._webhooks.take(key_id)
        if not verdict.allowed:
            self._log.warning("Webhook over its rate limit", key_id=key_id, limit=verdict.limit)
        require(exchange, verdict)


def require(exchange: Exchange, verdict: Verdict) -> None:
    """Note the verdict for the answer's headers, and stop here if it is no.

    :raises ApiError: 429 with `Retry-After`
    """
    exchange.verdict = verdict
    if not verdict.allowed:
        raise ApiError(
            Code.RATE_LIMITED,
            f"At most {verdict.limit} requests a minute.",
            headers={"Retry-After": str(verdict.retry_after_s)},
        )


def bearer_token(exchange: Exchange) -> str | None:
    """The token of the `Authorization` header, or None."""
    scheme, _, token = (exchange.header(b"authorization") or "").partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token else None


def network_of(address: str) -> str:
    """The unit that an address is limited by: one host of IPv6 owns a whole /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4 or parsed.ipv4_mapped is not None:
        return str(parsed if parsed.version == 4 else parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))

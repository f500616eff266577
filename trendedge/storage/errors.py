"""What can go wrong in the stores, built from facts. Nobody outside this package sees a driver's exception."""


class StorageFault(Exception):
    """Base of all errors of this package."""


class StoreUnavailable(StorageFault):
    """The store cannot be reached, did not answer in time, or refuses to work just now. Trying again may help."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"{store} is unavailable: {reason}")
        self.store, self.reason = store, reason


class InvalidStoreUrl(StorageFault):
    """The address of a store cannot be understood. The address itself is not repeated: it may hold a password."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"the address of {store} is not usable: {reason}")
        self.store, self.reason = store, reason


class InvalidCursor(StorageFault):
    """The cursor was not made by this server, or not for this list."""

    def __init__(self, seen: str) -> None:
        super().__init__(f"not a cursor of this list: {seen[:64]!r}")
        self.seen = seen


class UnknownAccount(StorageFault):
    """No such account: it was deleted, or never belonged to this user."""

    def __init__(self, account_id: str, user_id: str | None = None) -> None:
        owner = "" if user_id is None else f" of user {user_id}"
        super().__init__(f"there is no account {account_id}{owner}")
        self.account_id, self.user_id = account_id, user_id


class UnknownUser(StorageFault):
    """No such user."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"there is no user {user_id}")
        self.user_id = user_id


class InvalidUserId(StorageFault):
    """The id of a user is not a UUID, as the subject of every token of the identity provider is."""

    def __init__(self, seen: str) -> None:
        super().__init__(f"the id of a user must be a UUID, not {seen[:64]!r}")
        self.seen = seen


class MigrationFailed(StorageFault):
    """The schema could not be brought to the wanted revision; what was there before stands."""

    def __init__(self, revision: str, reason: str) -> None:
        super().__init__(f"migration to {revision} failed: {reason}")
        self.revision, self.reason = revision, reason

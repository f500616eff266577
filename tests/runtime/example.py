import asyncio
from dataclasses import dataclass

from trendedge.runtime import Actor, ActorRef, ChildSpec, Request, SupervisorSpec, running


@dataclass(frozen=True)
class Deposit:
    amount: int


@dataclass(frozen=True)
class Balance(Request[int]):
    """Answers what was deposited so far."""


class Account(Actor[Deposit | Balance]):
    async def on_start(self) -> None:
        self.balance = 0

    async def receive(self, message: Deposit | Balance) -> int | None:
        match message:
            case Deposit(amount):
                self.balance += amount
                return None
            case Balance():
                return self.balance


async def main() -> int:
    account = ActorRef[Deposit | Balance](
        "account"
    )  # an address: it is made before the actor, and outlives its restarts
    tree = SupervisorSpec("bank", [ChildSpec("account", Account, account)])
    async with running(tree):
        await account.tell(Deposit(40))
        await account.tell(Deposit(2))
        return await account.ask(Balance(), timeout_s=1)  # an int, for mypy too


if __name__ == "__main__":
    assert asyncio.run(main()) == 42

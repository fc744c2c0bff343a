"""Never more than so many dollars: what a request can cost at most is set aside before it is sent.

The bound holds whatever the model answers, since no tokeniser makes more tokens than a text has bytes, and an answer
has no more than `max_tokens`. When the reply comes, what it really cost takes the place of what was set aside. A
request that has no room left waits for those in flight, and is refused only when they have left none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from fewshot.errors import ConfigError, ServiceError
from fewshot.models.client import ClientWrapper
from fewshot.models.pricing import Own, Price, price_of
from fewshot.types import Completion, Request, Usage

if TYPE_CHECKING:
    from fewshot.models.client import Client
    from fewshot.models.connection import Connection

__all__ = ["OVER_BUDGET", "Budget", "BudgetClient", "with_budget"]

OVER_BUDGET = "max_cost"
"""The `code` of the ServiceError for a request that was not sent because the budget is spent."""
_LONGEST_ANSWER = 4096
_ROUNDING = 1e-12


class Budget:
    """So many dollars for one run, shared by all its requests; belongs to one event loop."""

    def __init__(self, max_cost: float, price: Price, *, decisions: Price | None = None, spent: float = 0.0) -> None:
        """Open a budget.

        Arguments:
            max_cost: US dollars.
            price: what the model costs.
            decisions: what it costs at the decisions endpoint; by default the same.
            spent: US dollars that earlier parts of the same run have cost.

        Raises:
            ConfigError: `max_cost` is not an amount.
        """
        if not 0 <= max_cost < float("inf"):
            raise ConfigError(f"max_cost={max_cost!r} is not an amount of dollars: give 0 or more")
        self.max_cost = max_cost
        self.price = price
        self.decisions = decisions or price
        self.others: dict[str, tuple[Price, Price]] = {}
        """Prices, as above, of further models that are asked in the same run."""
        self.spent = spent
        self.reserved = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def reserve(self, request: Request) -> float:
        """Set aside what a request can cost at most, once there is room; gives the amount.

        Raises:
            ServiceError: there is no room, and no request in flight that could make some; the code is `OVER_BUDGET`.
        """
        amount = self.price_for(request).cost(Usage(request.most_tokens, _longest_answer(request)))
        while self.spent + self.reserved + amount > self.max_cost + _ROUNDING:
            if self.spent + amount > self.max_cost + _ROUNDING or not self.reserved:
                raise self._refusal(amount, request)
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self.reserved += amount
        return amount

    def price_for(self, request: Request) -> Price:
        """Give the price that holds for a request."""
        return self.others.get(request.model, (self.price, self.decisions))[request.decides]

    def settle(self, amount: float, cost: float) -> None:
        """Put what was paid in the place of what was set aside, and let those who wait look again."""
        self.reserved = max(0.0, self.reserved - amount)
        if self.reserved < _ROUNDING:
            self.reserved = 0.0
        self.spent += cost
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    def _refusal(self, amount: float, request: Request) -> ServiceError:
        return ServiceError(
            f"the budget of ${self.max_cost:.6g} is spent (${self.spent:.6g}; this request may cost up to "
            f"${amount:.2g}): go on with a higher max_cost",
            code=OVER_BUDGET,
            account=True,
            request=request,
        )


class BudgetClient(ClientWrapper):
    """Asks another client as long as the budget lasts."""

    def __init__(self, client: Client, budget: Budget) -> None:
        super().__init__(client)
        self.budget = budget

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Answer a request within the budget.

        What becomes of a request that is cancelled, or whose reply is lost, nobody knows: it counts with all that was
        set aside for it. One that the service refused costs nothing.

        Raises:
            ServiceError: as the other client, and with the code `OVER_BUDGET` when there is no money for it.
        """
        amount = await self.budget.reserve(request)
        cost = amount
        try:
            completion = await self.ask(request, deadline)
            cost = self._paid(request, completion, amount)
        except ServiceError as error:
            cost = 0.0 if error.status is not None else amount
            raise
        finally:
            self.budget.settle(amount, cost)
        return completion

    def _paid(self, request: Request, completion: Completion, amount: float) -> float:
        if completion.cached:
            return 0.0
        return self.budget.price_for(request).cost(completion.usage) if completion.usage != Usage() else amount


def with_budget(
    connection: Connection, max_cost: float, *, spent: float = 0.0, own: Own = None, shared: Budget | None = None
) -> tuple[Connection, Budget]:
    """Put a connection under a budget; answers from the cache stay free.

    Arguments:
        max_cost: US dollars.
        spent: US dollars that the same run has cost before it was interrupted.
        own: the price that the caller gave.
        shared: the budget of the run, where another model is asked in it already.

    Raises:
        ConfigError: the model's price is not known, so that no budget can be kept.
    """
    price = Price(0.0, 0.0) if connection.local else price_of(connection.model, own=own)
    if price is None:
        raise ConfigError(
            f"max_cost needs the price of {connection.model!r}, which is not known: give US dollars for a million "
            "tokens of input and output, as price=(0.10, 0.40) or --price 0.10,0.40"
        )
    decisions = price_of(connection.model, decisions=True, own=own)
    budget = shared or Budget(max_cost, price, decisions=decisions, spent=spent)
    if shared is not None:
        budget.others[connection.model] = price, decisions or price
    client = connection.client
    before = client.before if isinstance(client, ClientWrapper) else ClientWrapper(client).before
    return connection.through(before(lambda inner: BudgetClient(inner, budget))), budget


def _longest_answer(request: Request) -> int:
    return (_LONGEST_ANSWER if request.max_tokens is None else request.max_tokens) * request.n

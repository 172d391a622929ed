"""Every management request has an id: in its answer, and with each log record that it causes."""

import logging

import httpx2
import pytest
from fastapi import APIRouter

from auterity.app.api import management_api
from auterity.kit.errors import Unauthenticated
from auterity.platform.identity.principal import Principal


class Nobody:
    """These routes ask for nobody."""

    async def principal(self, authorization: str | None) -> Principal:
        raise Unauthenticated("Log in first.")


router = APIRouter()


@router.get("/fine")
async def fine() -> None:
    logging.getLogger("auterity.fine").warning("fine")


@router.get("/in-a-thread")
def in_a_thread() -> None:
    logging.getLogger("auterity.thread").warning("in a thread")


@router.get("/broken")
async def broken() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("path", "message"), [("fine", "fine"), ("in-a-thread", "in a thread"), ("broken", "a request failed")]
)
async def test_each_record_within_a_request_tells_the_id_that_its_answer_has(
    told: list[tuple[str, str]], path: str, message: str
) -> None:
    transport = httpx2.ASGITransport(management_api([router], Nobody()), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://auterity/api/v1") as client:
        answers = [await client.get(f"/{path}") for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 2
    assert told == [(message, each) for each in ids]

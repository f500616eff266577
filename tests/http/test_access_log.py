"""What the logged path never shows."""

import pytest

from trendedge.http.access_log import logged_path

KEY = "te_0123456789abcdefghijklmnopqrstuvwxyzABCDEF"


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/api/v1/trades", "/api/v1/trades"),
        ("/api/v1/webhooks/tradingview", "/api/v1/webhooks/tradingview"),
        ("/api/v1/webhooks/tradingview/preview", "/api/v1/webhooks/tradingview/preview"),
        ("/api/v1/webhooks/tradingview/short", "/api/v1/webhooks/tradingview/***"),
        (f"/api/v1/webhooks/tradingview/{KEY}/more", "/api/v1/webhooks/tradingview/***"),
        (f"/api/v1/webhook/{KEY}", "/api/v1/webhook/***"),
        (
            "/api/v1/signals/550e8400-e29b-41d4-a716-446655440000",
            "/api/v1/signals/550e8400-e29b-41d4-a716-446655440000",
        ),
    ],
)
def test_the_path_is_logged_without_keys(path: str, logged: str) -> None:
    assert logged_path(path) == logged


def test_a_path_without_end_is_cut() -> None:
    assert len(logged_path("/a" * 100_000)) <= 1024

"""The cache of what was used last."""

from __future__ import annotations

from twinlens.support.lru import Cache


def test_what_was_used_longest_ago_is_forgotten():
    cache: Cache[bytes] = Cache(1000, len)
    for name in "abc":
        cache.put(name, b"x" * 400)
        cache.get("a")
    assert [name for name in "abc" if cache.get(name)] == ["a", "c"]


def test_a_value_larger_than_the_limit_is_kept_alone():
    cache: Cache[bytes] = Cache(10, len)
    cache.put("small", b"x")
    cache.put("large", b"x" * 99)
    assert cache.get("small") is None
    assert cache.get("large")


def test_a_key_is_put_once():
    cache: Cache[bytes] = Cache(10, len)
    for value in (b"first", b"second"):
        cache.put("a", value)
    assert cache.get("a") == b"first"

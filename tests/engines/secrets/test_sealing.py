"""What is sealed opens only unchanged, with its key, for its tenant and its column."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auterity.engines.secrets.errors import SealBroken
from auterity.engines.secrets.port import MasterKey
from auterity.engines.secrets.sealing import Sealer


class _Keys:
    def __init__(self, *secrets: bytes) -> None:
        self._keys = tuple(MasterKey.of(secret) for secret in secrets)

    def keys(self) -> Sequence[MasterKey]:
        return self._keys


_OLD, _NEW = b"o" * 32, b"n" * 32
_SEALER = Sealer(_Keys(_OLD))


@given(plaintext=st.binary(max_size=300), tenant_id=st.text(max_size=40), column=st.text(max_size=40))
def test_what_is_sealed_opens_again(plaintext: bytes, tenant_id: str, column: str) -> None:
    envelope = _SEALER.seal(plaintext, tenant_id=tenant_id, column=column)
    assert _SEALER.open(envelope, tenant_id=tenant_id, column=column) == plaintext
    assert len(plaintext) < 8 or plaintext not in envelope
    assert _SEALER.seal(plaintext, tenant_id=tenant_id, column=column) != envelope


@given(data=st.data(), plaintext=st.binary(max_size=64))
def test_no_changed_byte_and_no_cut_passes(data: st.DataObject, plaintext: bytes) -> None:
    envelope = bytearray(_SEALER.seal(plaintext, tenant_id="ten_1", column="providers.key"))
    place = data.draw(st.integers(0, len(envelope) - 1))
    cut = bytes(envelope[:place])
    envelope[place] ^= data.draw(st.integers(1, 255))
    for changed in (bytes(envelope), cut):
        with pytest.raises(SealBroken):
            _SEALER.open(changed, tenant_id="ten_1", column="providers.key")


@given(
    here=st.tuples(st.text(max_size=8), st.text(max_size=8)), there=st.tuples(st.text(max_size=8), st.text(max_size=8))
)
def test_a_value_that_is_moved_to_another_place_does_not_open(here: tuple[str, str], there: tuple[str, str]) -> None:
    envelope = _SEALER.seal(b"secret", tenant_id=here[0], column=here[1])
    if here != there:
        with pytest.raises(SealBroken):
            _SEALER.open(envelope, tenant_id=there[0], column=there[1])


def test_after_a_change_of_keys_old_values_open_and_new_ones_use_the_new_key() -> None:
    old = _SEALER.seal(b"secret", tenant_id="ten_1", column="c")
    both = Sealer(_Keys(_NEW, _OLD))
    assert both.open(old, tenant_id="ten_1", column="c") == b"secret"
    assert not both.is_current(old)
    new = both.seal(b"secret", tenant_id="ten_1", column="c")
    assert both.is_current(new)
    with pytest.raises(SealBroken, match="not here"):
        _SEALER.open(new, tenant_id="ten_1", column="c")
    assert Sealer(_Keys(_NEW)).open(new, tenant_id="ten_1", column="c") == b"secret"


def test_subkeys_differ_by_purpose_and_stay_when_a_master_key_is_added() -> None:
    assert len({_SEALER.derive("a"), _SEALER.derive("b"), Sealer(_Keys(_NEW)).derive("a"), _OLD}) == 4
    assert len(_SEALER.derive("a")) == 32
    assert Sealer(_Keys(_NEW, _OLD)).derive("a") == _SEALER.derive("a")

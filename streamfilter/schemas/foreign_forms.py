"""Names what a message seems to be where it is no Avro record in a form that is read."""

_PACKED = "let Kafka compress instead: compression.type of the producer"
_FORMS: tuple[tuple[bytes, str], ...] = (
    (b"\x03\x00", "AWS Glue's form"),
    (b"\x03\x05", "AWS Glue's form"),
    (b"\x1f\x8b", f"gzip; {_PACKED}"),
    (b"\x28\xb5\x2f\xfd", f"zstd; {_PACKED}"),
    (b"\x04\x22\x4d\x18", f"lz4; {_PACKED}"),
    (b"BZh", f"bzip2; {_PACKED}"),
    (b"\xfd7zXZ", f"xz; {_PACKED}"),
    (b"PK\x03\x04", f"zip; {_PACKED}"),
    (b"PAR1", "Parquet, which `streamfilter annotate` reads from files"),
    (b"SIMPLE  =", "a FITS file"),
    (b"{", "JSON"),
    (b"[", "JSON"),
    (b"<", "XML or HTML"),
)
# Registries count from 1; an id above this rather has its bytes in the other order.
_LARGEST_ID = 2**20


def foreign_form(value: bytes) -> str:
    """Returns what the first bytes are known for, in brackets behind a space; empty if unknown."""
    found = next((words for begin, words in _FORMS if value.startswith(begin)), "")
    return found and f" ({found})"


def odd_id(schema_id: int) -> str:
    """Returns what seems wrong with a schema id, behind a semicolon; empty if nothing does."""
    if schema_id == 0:
        return (
            "; registries count from 1: is it an id of 8 bytes, as Apicurio's serialisers write "
            "unless apicurio.registry.as-confluent is true?"
        )
    turned = int.from_bytes(schema_id.to_bytes(4, "big"), "little")
    if schema_id > _LARGEST_ID >= turned:
        return f"; little-endian it would be {turned}, expected is big-endian"
    return ""

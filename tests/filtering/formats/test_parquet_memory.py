import random

import pyarrow as pa
import pyarrow.parquet as pq

from filtering.formats import parquet_rows


def test_what_was_read_of_a_file_is_let_go(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "MAX_CHARS", 1 << 20)
    path, rng = tmp_path / "long.parquet", random.Random(0)
    schema = pa.schema([("chosen", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(20):
            writer.write_table(pa.table({"chosen": [rng.randbytes(500_000).hex()]}, schema=schema))
    before, held = pa.total_allocated_bytes(), list[int]()
    for batch in parquet_rows.read_parquet(path):
        held.append(pa.total_allocated_bytes() - before)
        assert len(batch.rows) >= 1
    assert len(held) >= 10
    assert max(held) < path.stat().st_size / 2

"""What a request carries, as far as there may be of it."""

import asyncio
from collections.abc import AsyncIterator


async def read_body(chunks: AsyncIterator[bytes], *, max_bytes: int, seconds: float) -> bytes | None:
    """All of it, None if it is more than ``max_bytes`` or takes longer."""
    found = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                found += chunk
                if len(found) > max_bytes:
                    return None
    except TimeoutError:
        return None
    return bytes(found)

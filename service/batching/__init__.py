"""Batching: queue and scheduler decide without a clock, the batcher acts in asyncio."""

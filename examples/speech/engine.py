"""A stand-in for speech models: slow on purpose, and it counts its calls."""

from __future__ import annotations

import asyncio
import io
import random
import wave
from dataclasses import dataclass

#: Samples a second.
RATE = 16_000

#: Seconds that a call of either model takes.
CALL_SECONDS = 0.05


@dataclass
class Transcript:
    """What was said."""

    text: str
    seconds: float


class Engine:
    """Synthesis and recognition."""

    def __init__(self) -> None:
        self.syntheses = 0
        self.recognitions = 0

    async def synthesize(self, text: str, seconds: float, voice: str) -> bytes:
        """Return a WAV file; the stand-in says noise, which no compression makes smaller."""
        self.syntheses += 1
        await asyncio.sleep(CALL_SECONDS)
        samples = random.Random(f"{voice}: {text}").randbytes(2 * int(seconds * RATE))
        file = io.BytesIO()
        with wave.open(file, "wb") as audio:
            audio.setnchannels(1)
            audio.setsampwidth(2)
            audio.setframerate(RATE)
            audio.writeframes(samples)
        return file.getvalue()

    async def recognize(self, audio: bytes) -> Transcript:
        """Return what is said in a WAV file."""
        self.recognitions += 1
        await asyncio.sleep(CALL_SECONDS)
        with wave.open(io.BytesIO(audio), "rb") as file:
            return Transcript("…", file.getnframes() / file.getframerate())

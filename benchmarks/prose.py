"""English-like texts and JSON answers of a known size, made from a seed.

Words come as often as in English (their rank decides), in sentences and paragraphs; names, numbers and
rare words are made up, so that what is repeated is about as much as in what people write.
"""

from __future__ import annotations

import json
import random

#: The commonest words of English, by rank, and some of this field.
_WORDS = """
the of and to in a is that for it as was with be by on not he this are or his from at which but have
an had they you were their one all we can her has there been if more when will would who so no out
up into than them then some could these two may other first my now such like our over man me even
most made after also did many off before must well back through years much where your way down
should because long each just state those people too little good world make very year still see own
work men day get here old between both life being under three never know same last another while us
might great go come since against right came take used himself few house use place during high
without again home around small however found part school thought went say general once upon every
left war does got united number hand course until always away public something fact though water
less put think almost head give far best night took better days set enough next government system
second why asked called eyes find going look thing nothing end told model answer question cache
value request response service result example language context token user data
"""
_COMMON = _WORDS.split()
_SYLLABLES = tuple(f"{one}{two}" for one in "bcdfghklmnprstvwz" for two in ("a", "e", "i", "ou"))
_RARE_EVERY = 9


def _word(random_: random.Random) -> str:
    if not random_.randrange(_RARE_EVERY):
        return "".join(random_.choices(_SYLLABLES, k=random_.randint(2, 4)))
    # The n-th word comes about 1/n as often as the first.
    rank = int(len(_COMMON) ** random_.random()) - 1
    return _COMMON[rank]


def sentence(random_: random.Random) -> str:
    """One sentence."""
    words = [_word(random_) for _ in range(random_.randint(6, 22))]
    if random_.random() < 0.5:
        words[len(words) // 2] += ","
    return " ".join(words).capitalize() + random_.choice("....?!")


def text_of(size: int, seed: int) -> str:
    """A text of exactly `size` characters, in paragraphs."""
    random_, parts, length = random.Random(seed), list[str](), 0
    while length < size:
        parts.append(sentence(random_) + ("\n\n" if not random_.randrange(5) else " "))
        length += len(parts[-1])
    return "".join(parts)[:size]


def answer_of(size: int, seed: int) -> str:
    """An answer of a model's interface as JSON, of about `size` characters, two thirds of them text."""
    random_ = random.Random(seed)
    document = {
        "id": f"chatcmpl-{random_.getrandbits(120):030x}",
        "created": 1_700_000_000 + random_.randrange(10_000_000),
        "model": "gpt-4o",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text_of(size * 2 // 3, seed)}},
        ],
        "usage": {
            "prompt_tokens": random_.randrange(2_000),
            "completion_tokens": random_.randrange(5_000),
        },
        "citations": [
            {
                "title": sentence(random_),
                "url": f"https://example.org/{random_.getrandbits(40):x}",
                "score": round(random_.random(), 4),
            }
            for _ in range(size // 3 // 160)
        ],
    }
    return json.dumps(document)

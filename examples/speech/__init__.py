"""Speech: synthesized audio by text, transcripts by audio."""

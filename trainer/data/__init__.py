"""What a run reads: texts, their split, prepared corpora, and the windows of every step."""

"""In-memory data and the formats it is read from.

User sequences, item texts, labels, reviews, time stamps.

Reads RecBole's atomic files; does not depend on RecBole's data set classes.
"""

"""Extensions of RecBole's data pipeline.

Data sets with exact time order, loading, augmentation, splits and filters.
"""

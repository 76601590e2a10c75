"""Extensions of RecBole's data pipeline: data sets with exact time order, loading, augmentation, splits and filters."""

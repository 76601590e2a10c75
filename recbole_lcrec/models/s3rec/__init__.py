"""S3-Rec (Zhou et al., CIKM 2020): RecBole's model with both training stages in one run."""

"""S3-Rec (Zhou et al., CIKM 2020): RecBole's model, with both of its training stages in one run."""

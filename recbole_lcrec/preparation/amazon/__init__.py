"""Amazon's review data: raw files to atomic files, as the paper prepares them."""

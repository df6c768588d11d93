"""Finding jobs: the filter, its text, the way in which its jobs are found, and the cursor of a page. Pure."""

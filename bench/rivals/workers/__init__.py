"""Workers: a small program for each rival's environment. Of the harness they know only `questions` and `tally`."""

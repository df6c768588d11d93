"""Why a job does not run now: `facts` in, an `answer` out; the `rule` says which reasons hold, the others word them."""

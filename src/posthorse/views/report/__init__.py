"""What a report says about the last days, and how it looks as a page. Pure: everything is made from figures."""

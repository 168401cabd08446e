-- Takes a notice back: its slots return to what they were told before. ARGV: the number. Yields how many slots returned.
return withdraw(ARGV[6])

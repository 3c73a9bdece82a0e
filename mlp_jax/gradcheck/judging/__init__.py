"""What a network's answers say: the evidence, what it was meant for, which mistakes are in it, and the report.

`evidence` holds the answers beside the truth, and `probes` asks further. `own_loss` and `loss_fit` find the
function that the returned losses are (`variants`, and `alike` without a loss). `diagnosis` is one reading of the
gradient, `judgement` chooses among them, and `telling` (with `numbering` and `advice`) makes the report.
"""

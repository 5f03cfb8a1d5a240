"""Ways to transfer that are more than a loop over all weights.

Small learned parts: `lora`, `peft_family`, `instruction_tuning`, `packed_updates`,
`fused_lora`.  Without labels of the target: `alignment` (CORAL, MMD, DANN),
`unlabelled`, `self_supervised`, `view_losses` (SimCLR, Barlow Twins, VICReg),
`table_views`, `self_training`, `test_time` (AdaBN, several views).
Staying near the start: `penalties`.
"""

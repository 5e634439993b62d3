/* SPDX-License-Identifier: MIT */
#include "command.h"

/* In the order of the help. To add a command, write command_<name>.c, declare it in command.h and list it here. */
const lilac_command *const lilac_commands[] = {
    &lilac_command_train,
    &lilac_command_generate,
    &lilac_command_complete,
    &lilac_command_eval_bits,
    &lilac_command_mlp_train,
    &lilac_command_mlp_eval,
    &lilac_command_data_variants,
    &lilac_command_lora_train,
    &lilac_command_lora_eval,
    &lilac_command_lora_merge,
    &lilac_command_lora_info,
    &lilac_command_reproduce_all,
    &lilac_command_reproduce_lora,
    &lilac_command_reproduce_completion,
    &lilac_command_info,
    &lilac_command_bench_peak,
    &lilac_command_bench_lora,
    &lilac_command_bench_attention,
    &lilac_command_bench_encoder,
    &lilac_command_bench_matmul,
    &lilac_command_bench_transformer,
};

const size_t lilac_command_count = LILAC_COUNT(lilac_commands);

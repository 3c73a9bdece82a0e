"""Which tests README's command leaves to `.ci/run`: they take long, and quicker ones of their kind stay."""

SLOW: dict[str, int | tuple[str, ...]] = {
    "test_activation_study.test_a_choice_of_rates": 0,
    "test_activation_study.test_a_row_is_what_an_independent_run_gives": 0,
    "test_benchmark": ("flops", "workloads_are", "how_alike", "ratios_are", "is_no_number"),
    "test_aside.test_the_gradient_check_ends_with_the_main_job": 0,
    "test_best_model.test_numbers_agree_with_the_saved_model": 0,
    "test_best_model.test_what_a_run_writes": 0,
    "test_best_model.test_the_real_command_line_trains_and_then_names_the_class": 0,
    "test_checkpoint.test_resumed_runs_have_the_bits_of_undisturbed_ones": ("little-3",),
    "test_cifar10.test_a_server_that_never_answers": 0,
    "test_cifar10.test_an_info_file_of_the_small_data_set": 0,
    "test_cifar10.test_the_fingerprint_of_the_cache": 0,
    "test_cifar10.test_the_true": 0,
    "test_cifar10.test_writers_at_the_same_time": 0,
    "test_correctness.test_the_bits_of_a_study_are_its_accuracies_and_give_its_intervals": 0,
    "test_crossed.test_intervals_cover_what_they_say": 4,
    "test_experiments.test_a_second_start_compiles_nothing_and_a_damaged_cache_does_no_harm": 0,
    "test_experiments.test_gradient_check_fails_on_a_broken_derivative": 0,
    "test_experiments.test_gradient_check_passes": 0,
    "test_experiments.test_manual_and_autodiff_and_a_repetition": 0,
    "test_experiments.test_the_comparisons_of_depths_and_initialisations": 0,
    "test_fuzz.test_many_examples": 0,
    "test_fuzz.test_what_was_found_once": ("pictures", "caches", "records", "command", "result", "checkpoints"),
    "test_equations.test_every_break_of_an_equation_is_found": ("[eq13]",),
    "test_further_run.test_a_run_of_the_same_procedure_is_told_so": ("same 1,000 images-4", "our 1,000-4"),
    "test_further_run.test_five_points_less_are_told": ("[4-",),
    "test_gradcheck.test_bottleneck_blocks": ("-0.5]",),
    "test_gradcheck.test_functions_that_need_jax_arrays": 0,
    "test_gradcheck.test_no_false_alarm": 7,
    "test_gradcheck.test_normalised_layers_do_not_hide_a_mistake_however_many": 2,
    "test_gradcheck.test_one_change_gets_its_codes_and_no_other": 5,
    "test_gradcheck.test_one_wrong_leaf_of_any_network_is_told_there_alone": 6,
    "test_gradcheck.test_pairs_get_both_codes": 4,
    "test_gradcheck.test_this_package": 2,
    "test_gradients.test_every_activation_with_and_without_dropout": 3,
    "test_gradients.test_every_block_with_layer_normalisation_dropout_and_soft_labels": 2,
    "test_gradients.test_every_depth": 8,
    "test_gradients.test_many_random_architectures": 0,
    "test_gradients.test_random_architectures": 0,
    "test_judgement.test_another_eps_is_a_remark": 0,
    "test_judgement.test_the_penalty_of_a_loss_that_is_not_known": 3,
    "test_judgement.test_right_for_its_own_loss": 6,
    "test_judgement.test_wrong_for_its_own_loss": 6,
    "test_large": 0,
    "test_layers.test_layers_of_torch": 0,
    "test_layers.test_layers_are_searched_as_networks_are": 3,
    "test_layers.test_mistakes": 4,
    "test_layers.test_options_of_networks_are_refused": 6,
    "test_layers.test_what_is_a_remark_of_relu": 4,
    "test_layers.test_where_it_stops": 0,
    "test_layers.test_right_layers_of_several_operations": 0,
    "test_machines": 0,
    "test_many_rows.test_both_gradients": ("-manual]",),
    "test_mistakes.test_every_way_of_making_a_mistake_is_named": ("-plain-relu-",),
    "test_optimization.test_learns_and_gives_the_same_bits_again_and_in_a_population": 0,
    "test_optimization.test_the_batch_rises_when_it_should": 0,
    "test_optimization.test_minibatches_that_devices_share_are_augmented_alike": 0,
    "test_page.test_in_a_browser": 3,
    "test_page.test_the_mirror_is_told_by_its_fingerprint": 0,
    "test_population.test_a_lower_precision_learns_and_differs": 0,
    "test_population.test_a_minibatch_shared_by_four_devices_of_eight": 0,
    "test_population.test_eight_devices_give_the_bits_of_one": 0,
    "test_population.test_programs_are_forgotten_when_there_are_many": 0,
    "test_population.test_the_estimate_of_memory_against_the_compiler": 0,
    "test_public": ("lack_the_mean", "is_refused_as_one"),
    "test_readme.test_the_example_prints_what_it_says": 0,
    "test_readme.test_the_generated_parts_are_up_to_date": 0,
    "test_recipes.test_an_ablation": 0,
    "test_recipes.test_best_model_trains_the_recipe": 0,
    "test_recipes.test_a_speedrun": 0,
    "test_regressions": 3,
    "test_reproduce.test_real_studies": 0,
    "test_reproduce.test_the_real_page_in_a_browser": 0,
    "test_report": 0,
    "test_model.test_a_quick_compilation_draws_the_same_bits": ("[he]",),
    "test_muon.test_it_costs_less_than_optax_s_where_a_matrix_is_wide_and_no_more_elsewhere": 4,
    "test_muon.test_it_is_that_of_optax": 0,
    "test_recurrent": ("[rows]", "in_a_step_of_rows", "no_shape"),
    "test_stopping.test_a_disk_that_takes_no": 0,
    "test_stopping.test_a_folder_that_vanishes": 0,
    "test_stopping.test_an_interrupted_study_under_other_options": 0,
    "test_stopping.test_killed_stopped_and_resumed_it_ends_with_the_same_bits": 0,
    "test_strangers.test_a_file_that_trains_is_what_it_defines": 0,
    "test_strangers": ("a list of dicts", "tuples in a dict", "a learning rate", "squared hinge", "leaves_out"),
    "test_target.test_a_gradient_of_torch": 0,
    "test_target.test_a_linear_classifier_of_torch": 0,
    "test_train.test_relu_networks_train_bit_for_bit_the_same_with_both_sources": ("sgd",),
    "test_train.test_validation_in_training_mode_moves_the_statistics": 0,
    "test_class_shapes": 6,
    "test_vjp.test_tensors_of_torch_are_told": 0,
}  # fmt: skip
"""A file, or how names of functions in it begin -> one of so many of these tests stays; 0: none does; words: those
stay whose names have one of them."""


def slow(items):
    """Those of the collected tests that are slow, in the order of collection."""
    seen: dict[str, int] = {}
    found = []
    for item in items:
        name = f"{item.path.stem}.{item.name}"
        rule = next((rule for rule in SLOW if f"{name}.".startswith((f"{rule}.", f"{rule}[", f"{rule}_"))), None)
        if rule is None:
            continue
        place, stay = seen.get(rule, 0), SLOW[rule]
        seen[rule] = place + 1
        if not (any(word in name for word in stay) if isinstance(stay, tuple) else stay and place % stay == 0):
            found.append(item)
    return found

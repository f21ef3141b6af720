"""What a training tells as it goes on, and when it writes a checkpoint; the clock alone is made up."""

import types

from transformers import TrainerControl, TrainerState

from xpm_build.training.trainer import ProgressCallback, SaveByTimeCallback


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


ARGS = types.SimpleNamespace(per_device_train_batch_size=4, gradient_accumulation_steps=2)


def begun(callback, **state):
    found = TrainerState(max_steps=40, **state)
    callback.on_train_begin(ARGS, found, TrainerControl())
    return found


def test_steps_loss_speed_and_time_left_from_the_first_second():
    told, clock = [], Clock()
    callback = ProgressCallback(told.append, clock)
    state = begun(callback)
    assert told == ["step 0/40  40 steps of 8 rows to go"]
    clock.now += 2
    state.global_step, state.num_input_tokens_seen = 1, 500
    callback.on_log(ARGS, state, TrainerControl(), logs={"loss": 1.5, "learning_rate": 1e-3})
    assert told[1:] == ["step 1/40  loss 1.5000  lr 1.0e-03  250 tokens/s  78 s left"]
    clock.now += 4
    callback.on_step_end(ARGS, state, TrainerControl())
    assert len(told) == 2  # not yet silent for long
    clock.now += 10
    state.global_step, state.num_input_tokens_seen = 8, 4000
    callback.on_step_end(ARGS, state, TrainerControl())
    assert told[2:] == ["step 8/40  loss 1.5000  250 tokens/s  64 s left"]


def test_a_resumed_run_counts_its_own_steps():
    told, clock = [], Clock()
    callback = ProgressCallback(told.append, clock)
    state = begun(callback, global_step=20, num_input_tokens_seen=9000)
    clock.now += 10
    state.global_step, state.num_input_tokens_seen = 30, 10_000
    callback.on_log(ARGS, state, TrainerControl(), logs={"loss": 1.0})
    assert told == ["step 20/40  20 steps of 8 rows to go", "step 30/40  loss 1.0000  100 tokens/s  10 s left"]


def test_a_checkpoint_by_time():
    clock = Clock()
    callback = SaveByTimeCallback(600, clock)
    state = begun(callback)

    def is_saved(after_s):
        clock.now += after_s
        control = TrainerControl()
        callback.on_step_end(ARGS, state, control)
        if control.should_save:
            callback.on_save(ARGS, state, control)
        return control.should_save

    assert [is_saved(each) for each in (300, 299, 1, 10, 590, 0)] == [False, False, True, False, True, False]

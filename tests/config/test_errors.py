import pickle

from fedra_ray.config.errors import ClientLostError, SettingError, error_text


def test_a_refused_setting_says_name_value_and_what_is_allowed() -> None:
    assert str(SettingError("training.lr", 0, "must be greater than 0")) == "training.lr=0: must be greater than 0"
    assert str(SettingError("lora.targets", None, "name some")) == "lora.targets=null: name some"


def test_a_lost_client_says_where_and_why() -> None:
    expected = "round 4: client 2, 7 failed 3 times, the last time with: out of memory"
    assert str(ClientLostError(4, [2, 7], 3, "out of memory")) == expected


def test_errors_survive_the_trip_between_processes() -> None:
    for error in (SettingError("seed", -1, "must be at least 0"), ClientLostError(4, [2], 3, "out of memory")):
        copied = pickle.loads(pickle.dumps(error))
        assert type(copied) is type(error)
        assert str(copied) == str(error)


def test_an_error_is_told_in_one_short_line_that_steers_no_terminal() -> None:
    assert error_text(ValueError("two\n  lines \x1b[31m")) == r"two lines \x1b[31m"
    assert error_text(KeyError()) == "KeyError"
    assert len(error_text(OSError("a" * 1000))) == 300

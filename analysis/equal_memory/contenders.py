"""What is compared: every way to allocate layers in the regime it was published in, and every aggregation of LoRA."""

#: Settings of every contender, by its name in the table. LoRA's aggregations are those of FedRA's clients.
CONTENDERS: dict[str, list[str]] = {
    "AllLarge": ["method=alllarge"],
    "Head only": ["method=headonly", "submodel=streamed"],
    "FedRA": ["method=fedra"],
    "FedRA, streamed": ["method=fedra", "submodel=streamed"],
    "FedBRICK": ["method=fedbrick"],
    "FedBRICK, no proxy data": ["method=fedbrick", "method.options.proxy=0"],
    "DepthFL": ["method=depthfl"],
    "InclusiveFL": ["method=inclusivefl"],
    "AllSmall": ["method=allsmall"],
    "Exclusive": ["method=exclusive"],
    "Window": ["method=window"],
    "Anchored": ["method=anchored"],
    "DevFT": ["method=devft"],
    "Suffix, streamed": ["method=suffix", "submodel=streamed"],
    "LEGEND, streamed": ["method=legend", "submodel=streamed"],
    "Fed-HeLLo, streamed": ["method=fedhello", "submodel=streamed"],
    "Partial": ["method=partial", "method.options.unbiased=true"],  # the only way there was when the study was made
    "Selective layers, streamed": ["method=selective", "submodel=streamed"],
    **{
        f"FedRA, {label}": ["method=fedra", f"lora_aggregation={name}"]
        for label, name in {
            "FFA-LoRA": "ffalora",
            "RoLoRA": "rolora",
            "FedSA-LoRA": "fedsalora",
            "FlexLoRA": "flexlora",
            "FLoRA": "flora",
            "FedEx-LoRA": "fedexlora",
            "LoRA-FAIR": "lorafair",
            "HetLoRA": "hetlora",
            "raFLoRA": "raflora",
        }.items()
    },
}

#: The ceiling: its clients hold everything, whatever their memory.
UNBOUNDED = ("AllLarge",)
#: Those in which only clients that hold the whole model take part.
WHOLE = ("Exclusive",)
#: Those whose clients all do the same, so that the fleet does not matter.
ALIKE = ("AllLarge", "Head only")

#: Depths at which a client of FedRA fills its memory; by seed, the domains change places.
FLEETS: dict[str, list[list[int]]] = {
    "paper": [[12, 10, 8, 6, 4, 3], [3, 4, 6, 8, 10, 12], [8, 3, 12, 4, 6, 10]],
    "extreme6": [[6] * 6] * 3,
    "extreme4": [[4] * 6] * 3,
    "extreme3": [[3] * 6] * 3,
}


def slug(name: str) -> str:
    """A contender's name as part of a folder's."""
    return name.lower().replace(",", "").replace(" ", "-")

"""`kbit latent`: train, sample, map."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from kbit.cli.output import JsonFlag, emit, talk
from kbit.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kbit.corpus import Document
    from kbit.training.latent import LatentRecipe, TrainedVariant
    from kbit.training.latent.plane import PlanePoint

RecipeFile = Annotated[Path, Parameter(help="The recipe, a TOML file.")]
Paths = Annotated[list[Path], Parameter(consume_multiple=True)]
TOLD = 10


def train(
    kind: Annotated[
        Literal["vae", "gan"], Parameter(help="A variational autoencoder, or adversarial training.")
    ],
    recipe: RecipeFile,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder for text, tokeniser, checkpoints and models.")],
    only: Annotated[
        list[str] | None, Parameter(consume_multiple=True, help="Variants of a VAE's recipe [all].")
    ] = None,
    threads: Annotated[int | None, Parameter(help="Threads of the training [all cores].")] = None,
    json: JsonFlag = False,
) -> int:
    """Train the variants of a recipe and put them in one table; resumable."""
    import torch

    from kbit.training.latent import read_latent_recipe, train_vae

    if threads is not None:
        if threads < 1:
            raise UsageError(f"--threads is {threads}; give at least 1.")
        torch.set_num_threads(threads)
    wanted = read_latent_recipe(recipe)
    if kind == "gan":
        if only:
            raise UsageError("--only names variants of a VAE's recipe; a GAN has none. Leave it out.")
        return _train_gan(wanted, out, json=json)
    trained = train_vae(wanted, out, only=only or (), report=_teller())
    data = {
        "recipe": wanted.name,
        "out": out,
        "variants": [
            {
                "name": one.name,
                "variant": one.variant,
                "seed": one.seed,
                "model": one.folder,
                "parameters": one.parameters,
                "wall_s": one.wall_s,
                "held_out": one.figures,
            }
            for one in trained
        ],
    }
    return emit(data, json=json, text=lambda console: _draw_variants(console, trained))


def _teller() -> "Callable[[Any], None]":
    """A line for each tenth of a run, on stderr."""

    def tell(step: Any) -> None:
        if (step.step + 1) % max(1, step.steps // TOLD) and step.step + 1 != step.steps:
            return
        if hasattr(step, "reward"):
            state = f"reward {step.reward:.3f}, discriminator right {step.discriminator_accuracy:.0%}"
        else:
            state = f"loss {step.loss_nats:.3f} nats a token, rate {step.rate_nats:.2f} nats a text"
        talk(f"{step.name}: step {step.step + 1} of {step.steps}, {state}")

    return tell


def _draw_variants(console: "Console", trained: "Sequence[TrainedVariant]") -> None:
    from rich.table import Table

    table = Table("variant", box=None, header_style="bold", pad_edge=False)
    for column in ("parameters", "bits/byte", "± s.e.", "ELBO", "rate, nats", "active units", "I(x;z), nats",
                   "BLEU"):  # fmt: skip
        table.add_column(column, justify="right")
    for one in trained:
        figures = one.figures
        table.add_row(
            one.name,
            f"{one.parameters:,}",
            f"{figures.bits_per_byte:.4f}",
            f"{figures.standard_error:.4f}",
            f"{figures.elbo_bits_per_byte:.4f}",
            _number(figures.rate_nats, ".2f"),
            _number(figures.active_units, "d"),
            _number(figures.mutual_information_nats, ".2f"),
            _number(figures.reconstruction_bleu, ".1f"),
        )
    console.print(table)
    if any(one.figures.rate_nats is not None for one in trained):
        samples = trained[-1].figures.samples
        console.print(
            f"bits/byte is the importance-weighted bound of {samples} draws (exact for a plain language "
            "model), ELBO the bound of one.",
            soft_wrap=True,
        )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _train_gan(recipe: "LatentRecipe", out: Path, *, json: bool) -> int:
    from kbit.coders import HEADLINE, baseline
    from kbit.corpus import read_documents
    from kbit.report.latent_map import plane_picture
    from kbit.training.checkpoint import write_text
    from kbit.training.latent.gan import train_gan
    from kbit.training.latent.plane import human_pieces, place, sample_file
    from kbit.training.latent.verdict import judge
    from kbit.training.prepare import HELD_OUT, TRAINING

    trained = train_gan(recipe, out, report=_teller(), report_gan=_teller())
    training, held_out = (list(read_documents([out / name])) for name in (TRAINING, HELD_OUT))
    part = recipe.gan
    human = human_pieces(held_out, kind=recipe.model.pieces, texts=part.samples * len(trained))
    scorer = baseline(HEADLINE, training)
    points: list[PlanePoint] = []
    for name, temperatures in (("maximum likelihood", part.temperatures), ("adversarial", (1.0,))):
        for temperature in temperatures:
            talk(f"comparing: {name} at temperature {temperature:g}")
            texts = []
            for one in trained:
                folder = one.adversarial if name == "adversarial" else one.maximum_likelihood
                file = out / "samples" / f"{folder.name}-{temperature:g}.jsonl"
                texts += sample_file(folder, file, texts=part.samples, temperature=temperature, seed=one.seed)
            points.append(
                place(texts, human, name=name, temperature=temperature, scorer=scorer, train=training)
            )
    verdict = judge(points[-1].bits, [point.bits for point in points[:-1]])
    picture = plane_picture([_point(point) for point in points], out / "plane.svg")
    data: dict[str, Any] = {
        "recipe": recipe.name,
        "out": out,
        "models": [
            {"seed": t.seed, "maximum_likelihood": t.maximum_likelihood, "adversarial": t.adversarial}
            for t in trained
        ],
        "scorer": HEADLINE,
        "points": [_figures(point) for point in points],
        "verdict": verdict,
        "picture": picture,
    }
    from json import dumps

    from kbit.cli.output import plain

    write_text(out / "plane.json", dumps(plain(data), indent=2) + "\n")
    return emit(data, json=json, text=lambda console: _draw_plane(console, data))


def _point(point: "PlanePoint") -> dict[str, Any]:
    figures = point.comparison.figures
    variety, bits = figures["decoding_entropy"].generated, figures["cross_entropy"].generated
    human = figures["cross_entropy"].human
    if variety is None or bits is None or human is None:
        raise UsageError(f"{point.name} at temperature {point.temperature:g} has no text to draw.")

    def ends(estimate: Any) -> tuple[float, float]:
        return estimate.ci95 or (estimate.value, estimate.value)

    return {
        "name": point.name,
        "temperature": point.temperature,
        "variety": variety.value,
        "variety_low": ends(variety)[0],
        "variety_high": ends(variety)[1],
        "bits": bits.value,
        "low": ends(bits)[0],
        "high": ends(bits)[1],
        "human": human.value,
    }


def _figures(point: "PlanePoint") -> dict[str, Any]:
    def sides(figure: Any) -> dict[str, Any]:
        return {
            side: None if (e := getattr(figure, side)) is None else {"value": e.value, "ci95": e.ci95}
            for side in ("generated", "human", "difference")
        } | {"unit": figure.unit, "reason": figure.reason}

    found = {name: sides(figure) for name, figure in point.comparison.figures.items()}
    return {"name": point.name, "temperature": point.temperature, "figures": found}


def _draw_plane(console: "Console", data: dict[str, Any]) -> None:
    from rich.table import Table

    columns = {
        "decoding_entropy": "entropy",
        "cross_entropy": "cross-entropy",
        "implausibility": "implausibility",
        "self_bleu": "self-BLEU",
        "distinct_2": "distinct-2",
        "novelty_4": "new 4-grams, %",
    }
    table = Table("generator", box=None, header_style="bold", pad_edge=False)
    for column in ("temperature", *columns.values(), "gap"):
        table.add_column(column, justify="right")
    for point in data["points"]:
        figures = point["figures"]
        cells = [figures[name]["generated"] for name in columns] + [figures["cross_entropy"]["difference"]]
        table.add_row(
            point["name"],
            f"{point['temperature']:g}",
            *("-" if cell is None else f"{cell['value']:.3f}" for cell in cells),
        )
    human = data["points"][0]["figures"]
    cells = [human[name]["human"] for name in columns]
    table.add_row("human text", "", *("-" if c is None else f"{c['value']:.3f}" for c in cells), "")
    console.print(table)
    verdict = data["verdict"]
    interval = "" if verdict.ci95 is None else f" ({verdict.ci95[0]:+.4f} to {verdict.ci95[1]:+.4f})"
    difference = "" if verdict.difference is None else f" {verdict.difference:+.4f}{interval} bits/byte:"
    console.print(f"GAN less sweep at equal entropy:{difference} {verdict.reason}.", soft_wrap=True)
    if len(verdict.by_seed) > 1:
        each = ", ".join(f"{s}: {_number(d, '+.4f')}" for s, d in verdict.by_seed.items())
        console.print(f"By training seed: {each}", markup=False, soft_wrap=True)
    console.print(f"The picture: {data['picture']}", markup=False, soft_wrap=True)


def sample(
    model: Annotated[Path, Parameter(help="A model folder that `kbit latent train` wrote, 16- or k-bit.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="JSONL, as `kbit compare` reads it.")],
    n: Annotated[int, Parameter(help="How many texts.")] = 100,
    temperature: Annotated[float, Parameter(help="Of the tokens; 0 takes the likeliest.")] = 1.0,
    seed: Annotated[int, Parameter(help="Of all draws.")] = 0,
    json: JsonFlag = False,
) -> int:
    """Draw vectors from the prior, and texts from them."""
    from kbit.training.latent.plane import sample_file

    if n < 1 or seed < 0:
        raise UsageError(f"--n is 1 or more and --seed 0 or more; given {n} and {seed}.")
    if out.suffix != ".jsonl":
        raise UsageError(f"--out is a .jsonl file, not {out.name!r}. Change the suffix.")
    texts = sample_file(model, out, texts=n, temperature=temperature, seed=seed)
    data = {"out": out, "texts": len(texts), "empty": n - len(texts), "bytes": sum(t.bytes for t in texts)}

    def text(console: "Console") -> None:
        for one in texts[:TOLD]:
            console.print(one.text, markup=False, highlight=False)
        console.print(f"{len(texts)} texts: {out}", markup=False, soft_wrap=True)

    return emit(data, json=json, text=text)


def latent_map(
    model: Annotated[str, Parameter(help="A latent model, or any language model: folder or hub id.")],
    /,
    *,
    text: Annotated[Paths, Parameter(help="What to map: .jsonl, .csv, plain text, or folders of them.")],
    out: Annotated[Path, Parameter(help=".html for the page, .png or .svg for a picture.")],
    field: Annotated[str, Parameter(help="Field or column that holds the text.")] = "text",
    label: Annotated[str | None, Parameter(help="Field or column that holds a label, to colour by.")] = None,
    clusters: Annotated[
        int | None, Parameter(help="How many k-means finds [as many as labels, else 8].")
    ] = None,
    planes: Annotated[
        list[Literal["pca", "tsne", "umap"]] | None,
        Parameter(consume_multiple=True, help="Projections, the first is shown first [pca tsne]."),
    ] = None,
    texts: Annotated[int, Parameter(help="At most so many texts, evenly spread over what is read.")] = 1000,
    samples: Annotated[int, Parameter(help="Texts drawn from the prior, of a latent model.")] = 8,
    interpolate: Annotated[
        tuple[str, str] | None, Parameter(help="Two texts to walk between [the two farthest apart].")
    ] = None,
    seed: Annotated[int, Parameter(help="Of t-SNE, UMAP, k-means, permutations and draws.")] = 0,
    json: JsonFlag = False,
) -> int:
    """Look at where texts lie in a model's space: planes, clusters, neighbours, walks."""
    import numpy as np
    import torch

    from kbit.information.latent_space import FEWEST, cluster, nearest, project, tfidf
    from kbit.information.text_vectors import text_vectors
    from kbit.models import load, load_tokenizer
    from kbit.report.latent_map import LatentMap, write_map

    if out.suffix not in (".html", ".png", ".svg"):
        raise UsageError(f"--out is a .html page, a .png or a .svg, not {out.name!r}. Change the suffix.")
    if texts < FEWEST or samples < 0 or seed < 0:
        raise UsageError(
            f"--texts is {FEWEST} or more, --samples and --seed 0 or more; given {texts}, {samples}, {seed}."
        )
    if clusters is not None and clusters < 2:
        raise UsageError(f"--clusters is {clusters}; give 2 or more, or leave it out.")
    documents, labels, without_label = _labelled(text, field, label)
    chosen = np.unique(np.linspace(0, len(documents) - 1, min(texts, len(documents))).round().astype(int))
    documents = [documents[i] for i in chosen]
    labels = None if labels is None else [labels[i] for i in chosen]
    if len(documents) < FEWEST:
        raise UsageError(f"--text holds {len(documents)} texts that are not empty; give at least {FEWEST}.")
    loaded, tokenizer = load(model, dtype=torch.float32), load_tokenizer(model)
    vectors = text_vectors(loaded, tokenizer, documents)
    several = len(set(labels)) if labels and len(set(labels)) > 1 else 8
    count = min(several, len(documents) - 1) if clusters is None else clusters
    found = cluster(vectors, count, labels=labels, seed=seed)
    beside = cluster(tfidf([d.text for d in documents]), count, labels=labels, seed=seed)
    drawn = [project(vectors, method, seed=seed) for method in planes or ("pca", "tsne")]
    walks = _walks(loaded, tokenizer, vectors, documents, interpolate, samples, seed)
    colourings = {} if labels is None else {label or "label": labels}
    colourings |= {"cluster": [f"cluster {c + 1}" for c in found.labels]}
    summary = (
        f"{len(documents)} texts as {Path(model).name} sees them, in {vectors.shape[1]} dimensions; "
        f"{count} clusters with a silhouette of {_number(found.silhouette, '.3f')}."
    )
    if labels is not None:
        summary += (
            f" Adjusted Rand index with {label}: {found.adjusted_rand:.3f}; shuffled labels stay below "
            f"{found.permuted_95:.3f} (p = {found.p_value:.3f}); clusters of TF-IDF reach "
            f"{beside.adjusted_rand:.3f}."
        )
        if without_label:
            summary += f" {without_label} texts without {label} are left out."
    write_map(
        LatentMap(
            title=f"Texts in the space of {Path(model).name}",
            summary=summary,
            names=[d.name for d in documents],
            texts=[d.text for d in documents],
            planes=drawn,
            colourings=colourings,
            neighbours=[[i for i, _ in nearest(vectors, row, 5)] for row in range(len(documents))],
            prior=walks["prior"],
            path=walks["path"],
            ends=walks["path_ends"],
        ),
        out,
    )
    data: dict[str, Any] = {
        "out": out,
        "model": model,
        "texts": len(documents),
        "dimensions": int(vectors.shape[1]),
        "clusters": count,
        "silhouette": found.silhouette,
        "adjusted_rand": found.adjusted_rand,
        "adjusted_rand_permuted_95": found.permuted_95,
        "p_value": found.p_value,
        "tfidf_adjusted_rand": beside.adjusted_rand,
        "without_label": without_label if label else None,
        "explained_variance": {p.method: p.explained for p in drawn if p.explained},
        **walks,
    }

    def say(console: "Console") -> None:
        console.print(summary, markup=False, soft_wrap=True)
        console.print(f"The map: {out}", markup=False, soft_wrap=True)

    return emit(data, json=json, text=say)


def _labelled(
    paths: list[Path], field: str, label: str | None
) -> "tuple[list[Document], list[str] | None, int]":
    """Documents that are not empty, their labels, and how many have none."""
    from kbit.corpus import read_documents
    from kbit.corpus.labelled import read_labelled
    from kbit.corpus.read import ReadOptions

    if label is None:
        read = read_documents(paths, ReadOptions(field=field))
        return [document for document in read if document.text.strip()], None, 0
    found = read_labelled(paths, field=field, label=label)
    return list(found.documents), list(found.labels), found.without_label


def _walks(
    model: Any,
    tokenizer: Any,
    vectors: Any,
    documents: "Sequence[Document]",
    ends: tuple[str, str] | None,
    samples: int,
    seed: int,
) -> dict[str, list[str]]:
    """Texts from the prior and between two texts; none of a model without a latent space."""
    import numpy as np
    import torch

    from kbit.models.latent import is_latent

    if not is_latent(model):
        if ends is not None:
            raise UsageError("--interpolate needs a model with a latent space. Leave it out.")
        return {"prior": [], "path": [], "path_ends": []}
    from kbit.corpus import Document
    from kbit.information.text_vectors import text_vectors
    from kbit.models.latent.walk import between, decoded_path, prior_texts

    begin, end = int(tokenizer.bos_token_id), int(tokenizer.eos_token_id)
    if ends is None:
        axis = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)[2][0]
        along = vectors @ axis
        outermost = [int(along.argmin()), int(along.argmax())]
        pair, told = vectors[outermost], [documents[i].text for i in outermost]
    else:
        given = [Document(name=f"--interpolate {i + 1}", text=one) for i, one in enumerate(ends)]
        pair, told = text_vectors(model, tokenizer, given), list(ends)
    first, last = (torch.tensor(row, dtype=torch.float32) for row in pair)
    path = decoded_path(model, between(first, last, 7), begin=begin, end=end)
    prior = prior_texts(model, texts=samples, begin=begin, end=end, seed=seed) if samples else []
    decoded = {name: [tokenizer.decode(tokens) for tokens in made] for name, made in
               (("prior", prior), ("path", path))}  # fmt: skip
    return decoded | {"path_ends": told}

# The command `byol` in a container.
#
#   docker build -t byol .                                    # CPU
#   docker build -t byol:cuda --build-arg TORCH=cu130 .       # NVIDIA GPUs; a name of download.pytorch.org/whl/
#
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" byol pretrain photos/
#   docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" -v "$PWD:/work" byol:cuda pretrain photos/
#
# The image holds no compiler: leave `--optim.compile` out, or build on an image that has one.

ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/byol
ENV PATH=/opt/byol/bin:$PATH
# torch first and alone: this layer is large, and a change of the source leaves it as it is.
RUN pip install --index-url "https://download.pytorch.org/whl/${TORCH}" "torch>=2.11" "torchvision>=0.26"
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install .

FROM python:${PYTHON}-slim
COPY --from=build /opt/byol /opt/byol
# Named data sets and stored features; any user may write there, for `--user` of `docker run`.
RUN useradd --create-home --uid 1000 byol && mkdir -m 1777 /cache
ENV PATH=/opt/byol/bin:$PATH \
    BYOL_HOME=/cache \
    TORCH_HOME=/cache/torch \
    HF_HOME=/cache/huggingface \
    USER=byol \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER byol
WORKDIR /work
ENTRYPOINT ["byol"]
CMD ["--help"]

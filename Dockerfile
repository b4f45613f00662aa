# The image that the 7B run uses.  docker build -t snakmodel . && docker run --gpus all -v $PWD/out:/snakmodel/out -v /data:/data -it snakmodel
FROM nvidia/cuda:13.0.0-devel-ubuntu24.04
RUN apt-get update && apt-get install -y --no-install-recommends git make python3 python3-venv g++ ninja-build \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /snakmodel
COPY requirements.txt pyproject.toml ./
COPY snakmodel snakmodel
RUN python3 -m venv .venv && .venv/bin/pip install --no-cache-dir -r requirements.txt && touch .venv/.installed
# for `cross_entropy: liger`; it needs a GPU, so it is no part of requirements.txt
RUN .venv/bin/pip install --no-cache-dir --no-deps liger-kernel==0.8.5
ENV PATH=/snakmodel/.venv/bin:$PATH
COPY . .
CMD ["bash"]

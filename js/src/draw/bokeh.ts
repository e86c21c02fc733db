// What charts of panels and figures of reports use of BokehJS models.

export interface BokehSource {
  data: Record<string, ArrayLike<number>>;
  selected: {
    indices: number[];
    properties: { indices: { change: { connect(slot: () => void): void } } };
  };
}

export interface BokehDocument {
  get_model_by_name(name: string): object | null;
}

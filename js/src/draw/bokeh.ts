// What charts of panels and figures of reports use of BokehJS models.

export interface BokehModel {
  visible?: boolean;
}

export interface BokehSource extends BokehModel {
  data: Record<string, ArrayLike<number>>;
  selected: {
    indices: number[];
    properties: { indices: { change: { connect(slot: () => void): void } } };
  };
}

export interface BokehDocument {
  get_model_by_name(name: string): BokehModel | null;
}
